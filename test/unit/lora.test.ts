import { describe, expect, test } from "vitest"
import { input } from "../../src/graph/node.ts"
import { conv2d, linear } from "../../src/graph/ops/index.ts"
import { joinUpdates, updateWeights } from "../../src/graph/passes/low-rank.ts"
import type { Value } from "../../src/graph/value.ts"
import type { StoredWeight } from "../../src/graph/weights.ts"
import { storedWeights } from "../../src/graph/weights.ts"
import { FormatError } from "../../src/ground/errors.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, toFloat32, toHalf, zeros } from "../../src/ground/tensor.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import type { LoraSource } from "../../src/models/lora.ts"
import { loraUpdates, readLora } from "../../src/models/lora.ts"
import { peftFactors } from "../../src/models/lora-alpha.ts"
import type { LoraPart } from "../../src/models/lora-names.ts"
import { parseLoraKey, textLoraPart, unetLoraPart } from "../../src/models/lora-names.ts"
import { formatLoraSummary, summarizeLora } from "../../src/models/lora-summary.ts"
import { clipTextParameters } from "../../src/models/parameters/clip-text.ts"
import { unetParameters } from "../../src/models/parameters/unet.ts"
import { dice, fuzzRounds } from "./dice.ts"
import { goldenJson, goldenTensors, relativeDifference } from "./golden.ts"
import { interpret } from "./graph-interpreter.ts"
import { clipL, sd14Unet } from "./published-configs.ts"

const stored = (tensor: Tensor): StoredWeight => ({ ...tensor, storage: { kind: "memory", tensor } })

function sourceOf(tensors: Record<string, Tensor>, metadata: Record<string, string> = {}): LoraSource {
  return {
    path: "ink.safetensors",
    metadata,
    tensors: new Map(Object.entries(tensors)),
    stored: (name) => stored(tensors[name]),
    read: (name) => tensors[name],
  }
}

/** The tiny models of the goldens, and Stable Diffusion 1.4. */
function partsOf(unet: object, ...texts: object[]): LoraPart[] {
  const config = unetConfig(unet, "unet")
  const names = ["text_encoder", "text_encoder_2"] as const
  return [
    unetLoraPart(unetParameters(config), config),
    ...texts.map((text, i) => textLoraPart(names[i], clipTextParameters(clipTextConfig(text, "text")))),
  ]
}
const golden = (path: string) => goldenJson<object>(`${path}/config.json`)
const tiny = partsOf(golden("pipeline/model/unet"), golden("pipeline/model/text_encoder"))
const published = partsOf(sd14Unet, clipL)

describe("the change of one layer, against torch", () => {
  const all = goldenTensors("lora/layers.safetensors")
  const kinds = Object.keys(all).flatMap((name) => /^(.*):x$/.exec(name)?.[1] ?? [])
  const layers = new Map(kinds.map((kind) => [kind, all[`${kind}:weight`].shape]))
  const part = { name: "unet", layers, aliases: new Map(kinds.map((kind) => [kind, kind])) } as const
  const factors = Object.fromEntries(Object.entries(all).filter(([name]) => name.startsWith("lora_unet_")))
  const lora = readLora(sourceOf(factors), [part]).parts.get("unet")!

  /** What a layer gives with its LoRA at scale 0.7, its rows in as many pieces. */
  function run(kind: string, weight: Tensor, pieces = 1): Tensor[] {
    const x = input("x", "float32", all[`${kind}:x`].shape)
    const w = storedWeights(new Map([[`${kind}.weight`, stored(weight)]]), "the layer").at(kind)
    const layer = (folder: typeof w): Value =>
      weight.shape.length === 2 ? linear(x, folder) : conv2d(x, folder, { stride: 2, padding: 1 })
    const rows = weight.shape[0] / pieces
    const described = Array.from({ length: pieces }, (_, i) => {
      const y = layer(pieces === 1 ? w : w.rows(i * rows, (i + 1) * rows))
      return [String(i), y] as const
    })
    const scale = input("scale", "float32", [1])
    const updated = updateWeights(Object.fromEntries(described), loraUpdates(lora, scale, "lora", "ink"))
    const values = described.map(([name]) => updated[name])
    const feeds = { x: Float64Array.from(toFloat32(all[`${kind}:x`]).data), scale: Float64Array.of(0.7) }
    return interpret(values, feeds).map((data, i) => float32(values[i].shape, data))
  }

  test.each(kinds)("%s", (kind) => {
    const [y] = run(kind, all[`${kind}:weight`])
    expect(relativeDifference(y, all[`${kind}:y`])).toBeLessThan(1e-5)
  })

  test.each(["lora_matrix", "loha_matrix", "lokr_both", "dora_matrix"])("%s, of a weight in rows", (kind) => {
    const pieces = run(kind, all[`${kind}:weight`], 3)
    const [x] = all[`${kind}:y`].shape
    expect(x).toBe(2)
    const joined = Array.from({ length: 10 }, (_, row) =>
      pieces.flatMap(({ data }) => Array.from(data.slice(row * 4, row * 4 + 4), Number)),
    )
    expect(relativeDifference(float32([2, 5, 12], joined.flat()), all[`${kind}:y`])).toBeLessThan(1e-5)
  })

  test.each(["lora_kernel", "dora_loha"])("%s, of a weight stored as float16", (kind) => {
    const weight = all[`${kind}:weight`] as Tensor<"float32">
    const [y] = run(kind, toHalf(weight, "float16"))
    expect(relativeDifference(y, all[`${kind}:y`])).toBeLessThan(2e-3)
  })

  test("several of one weight add up, whatever their kinds", () => {
    const x = input("x", "float32", [1, 8])
    const weight = all["lora_matrix:weight"]
    const plain = storedWeights(new Map([["layer.weight", stored(weight)]]), "the layer")
    const outputs = { y: linear(x, plain.at("layer")) }
    const scale = input("scale", "float32", [1])
    const updates = ["lora_matrix", "loha_matrix", "lora_matrix"].map((kind, i) => {
      const layer = { ...lora.get(kind)!, shape: [12, 8] }
      return loraUpdates(new Map([["layer", layer]]), scale, `lora${i}`, "ink")
    })
    const at = (some: typeof updates, s: number) => {
      const { y } = updateWeights(outputs, joinUpdates(some))
      return interpret([y], { x: new Float64Array(8).fill(0.5), scale: Float64Array.of(s) })[0]
    }
    const base = at([], 1)
    const alone = updates.map((one) => at([one], 2))
    const together = at(updates, 2)
    for (const [i, value] of together.entries())
      expect(value).toBeCloseTo(base[i] + alone.reduce((sum, one) => sum + one[i] - base[i], 0), 9)
    expect(at(updates, 0)).toEqual(base)
  })
})

describe("names", () => {
  const layer = "down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q"
  test.each([
    [`lora_unet_${layer}.lora_up.weight`, "unet", layer, "up"],
    [`lora_unet_${layer}.dora_scale`, "unet", layer, "dora_scale"],
    [`lora_unet_${layer}.hada_w1_a`, "unet", layer, "hada_w1_a"],
    [
      "unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q.lora_A.default.weight",
      "unet",
      layer,
      "down",
    ],
    [
      "down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight",
      undefined,
      layer,
      "down",
    ],
    ["text_encoder_2.text_projection.lora_linear_layer.up.weight", "text_encoder_2", "text_projection", "up"],
    [
      "lora_te1_text_model_encoder_layers_0_mlp_fc1.alpha",
      "text_encoder",
      "text_model_encoder_layers_0_mlp_fc1",
      "alpha",
    ],
    ["lora_te2_text_projection.lora_mid.weight", "text_encoder_2", "text_projection", "mid"],
    ["unet.conv_in.lora_magnitude_vector", "unet", "conv_in", "magnitude"],
  ])("%s", (key, part, name, role) => {
    expect(parseLoraKey(key)).toEqual({ part, layer: name, role })
  })

  test("tensors of other models are none", () => {
    for (const key of ["model.diffusion_model.out.0.weight", "conv_in.weight", "lora_unet_conv_in.bias"])
      expect(parseLoraKey(key)).toBeUndefined()
  })

  test("every layer of Stable Diffusion 1.4 has names of its own", () => {
    for (const { layers, aliases } of published) {
      expect(new Set(aliases.values()).size).toBe(layers.size)
      for (const [name] of layers) expect(aliases.get(name.replaceAll(".", "_"))).toBe(name)
    }
    expect(published[0].aliases.get("input_blocks_1_1_transformer_blocks_0_attn2_to_k")).toBe(
      "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k",
    )
    expect(published[0].aliases.get("output_blocks_5_2_conv")).toBe("up_blocks.1.upsamplers.0.conv")
  })
})

describe("a file of numbered layers", () => {
  /** Layers as torch walks the diffusers of 2022: down, up, middle; the feed-forward layer between the attentions. */
  const places = [
    [320, 2],
    [640, 2],
    [1280, 2],
    [1280, 3],
    [640, 3],
    [320, 3],
    [1280, 1],
  ].flatMap(([width, count]) => new Array<number>(count).fill(width))
  const unet = places.flatMap((c) => {
    const attention = (context: number) => [
      [c, c],
      [c, context],
      [c, context],
      [c, c],
    ]
    return [...attention(c), [8 * c, c], ...attention(768)]
  })
  const text = new Array<number[]>(48).fill([768, 768])
  const tensors: Record<string, Tensor> = { "<s1>": zeros("float32", [768]) }
  for (const [part, layers] of Object.entries({ unet, text_encoder: text }))
    for (const [i, [out, wide]] of layers.entries()) {
      tensors[`${part}:${i}:up`] = zeros("float16", [out, 1])
      tensors[`${part}:${i}:down`] = zeros("float16", [1, wide])
    }
  const metadata = {
    unet: '["GEGLU", "CrossAttention", "Attention"]',
    text_encoder: '["CLIPAttention"]',
    "<s1>": "<embed>",
  }

  test("is read in its order", () => {
    const { parts, words } = readLora(sourceOf(tensors, metadata), published)
    expect(words).toEqual(["<s1>"])
    expect(parts.get("unet")!.size).toBe(144)
    expect(parts.get("text_encoder")!.size).toBe(48)
    const shapes = [...parts.get("unet")!].filter(([name]) => name.endsWith("ff.net.0.proj"))
    expect(shapes).toHaveLength(16)
    expect(
      [...parts.get("unet")!.keys()].slice(0, 6).map((name) => name.replace(/.*blocks\.0\./, "")),
    ).toEqual(["attn1.to_q", "attn1.to_k", "attn1.to_v", "attn1.to_out.0", "ff.net.0.proj", "attn2.to_q"])
    expect([...parts.get("unet")!.keys()][143]).toMatch(/^mid_block.*attn2\.to_out\.0$/)
    expect([...parts.get("text_encoder")!.keys()].slice(0, 4)).toEqual(
      ["k_proj", "v_proj", "q_proj", "out_proj"].map(
        (name) => `text_model.encoder.layers.0.self_attn.${name}`,
      ),
    )
  })

  test("is refused where its order is not known", () => {
    const read = (changed: Record<string, string>) => () =>
      readLora(sourceOf(tensors, { ...metadata, ...changed }), published)
    expect(read({ unet: '["ResnetBlock2D", "Attention"]' })).toThrow(/ResnetBlock2D/)
    expect(read({ unet: '["Attention"]' })).toThrow(/in an order that this model's unet does not have/)
    expect(() => readLora(sourceOf(tensors), published)).toThrow(/classes that it does not name/)
  })
})

describe("alpha over rank, where no tensor says it", () => {
  const source = (metadata: Record<string, string>, adapterConfig?: unknown) => ({
    path: "ink",
    metadata,
    adapterConfig,
  })
  test("is 1 without a configuration, or with one of other parts only", () => {
    expect(peftFactors(source({}), "unet")("conv_in", 4)).toBe(1)
    for (const lora_adapter_metadata of ["{}", "null", '{"text_encoder.lora_alpha": 2}'])
      expect(peftFactors(source({ lora_adapter_metadata }), "unet")("conv_in", 4)).toBe(1)
  })

  test("follows PEFT's file: patterns, and the square root of rsLoRA", () => {
    const config = { r: 4, lora_alpha: 8, alpha_pattern: { "attn1.to_q": 2 } }
    const of = peftFactors(source({}, config), "unet")
    expect(["x.attn1.to_q", "attn1.to_q", "x.attn1.to_k", "xattn1.to_q"].map((name) => of(name, 4))).toEqual([
      0.5, 0.5, 2, 2,
    ])
    expect(peftFactors(source({}, { ...config, use_rslora: true }), "unet")("conv_in", 16)).toBe(2)
  })
})

describe("what a file tells without its model", () => {
  const said = (file: string) => formatLoraSummary(summarizeLora(sourceOf(goldenTensors(file)).tensors)!)
  test.each([
    [
      "ink",
      "a LoRA of rank 2 to 3 for a model that reads text 24 wide: 12 layers of text_encoder, 130 layers of unet",
    ],
    ["dora", "a LoRA with DoRA of rank 2 for a model that reads text 24 wide: 74 layers of unet"],
    [
      "sgm",
      "a LoRA of rank 2 for a model that reads text 40 wide: 18 layers of text_encoder, 24 layers of text_encoder_2, 146 layers of unet",
    ],
  ])("%s", (file, sentence) => {
    expect(said(`lora/${file}.safetensors`)).toBe(sentence)
  })

  test("published families are named, and other files are none", () => {
    const at = (key: string, ...shape: number[]) => new Map([[key, { shape }]])
    const key = "lora_unet_input_blocks_4_1_transformer_blocks_0_attn2_to_k"
    expect(formatLoraSummary(summarizeLora(at(`${key}.hada_w1_b`, 8, 2048))!)).toBe(
      "a LoHa of rank 8 for Stable Diffusion XL: 1 layer of unet",
    )
    expect(formatLoraSummary(summarizeLora(at("text_encoder:3:down", 1, 768))!)).toBe(
      "a LoRA of rank 1: 1 layer of text_encoder",
    )
    expect(summarizeLora(at("conv_in.weight", 320, 4, 3, 3))).toBeUndefined()
  })
})

describe("what does not fit", () => {
  const ink = goldenTensors("lora/ink.safetensors")
  const read = (tensors: Record<string, Tensor>, metadata = {}) => readLora(sourceOf(tensors, metadata), tiny)

  test("a tensor of no layer is named", () => {
    expect(() => read({ ...ink, "unet.nowhere.lora_A.weight": zeros("float32", [1, 1]) })).toThrow(
      'ink.safetensors holds "unet.nowhere.lora_A.weight", which fits no layer of this model; give a LoRA made for it.',
    )
    expect(() => read({})).toThrow("ink.safetensors holds no layers of a LoRA; give one.")
  })

  test("a LoRA for another model: both widths", () => {
    const sentence =
      "ink.safetensors is for a model that reads text 40 wide, and this one reads 24; give a LoRA made for it."
    expect(() => read(goldenTensors("lora/sgm.safetensors"))).toThrow(sentence)
  })

  test("a layer of another size, a lost tensor, a broken alpha", () => {
    const [[name]] = Object.entries(ink).filter(([key]) => /attn1\.to_k\.lora_A/.test(key))
    const layer = name.replace(".lora_A.weight", "")
    expect(() => read({ ...ink, [name]: zeros("float32", [3, 7]) })).toThrow(
      `its down [3, 7], up [8, 3] make no change of ${layer} [8, 8]`,
    )
    const { [name]: _, ...rest } = ink
    expect(() => read(rest)).toThrow(`has no down for ${layer}`)
    expect(() => read({ ...ink, [`${layer}.alpha`]: zeros("float32", [2]) })).toThrow(
      "which is not one number",
    )
    for (const json of ["{", '{"unet.r": 3}', '{"unet.lora_alpha": "x"}'])
      expect(() => read(ink, { lora_adapter_metadata: json })).toThrow(
        "PEFT's configuration of ink.safetensors cannot be read; fetch it again.",
      )
    const mixed = { ...ink, [`${layer}.hada_w1_a`]: ink[name] }
    expect(() => read(mixed)).toThrow(`has no hada_w1_b for ${layer}`)
    const lengths = { [`${layer}.lora_magnitude_vector`]: zeros("float32", [8]) }
    expect(() => read({ ...ink, ...lengths, [`${layer}.dora_scale`]: zeros("float32", [8, 1]) })).toThrow(
      /make no change of/,
    )
    const twice = { ...ink, [`${layer}.lora.down.weight`]: ink[name] }
    expect(() => read(twice)).toThrow(/twice, by two of its names/)
  })

  test("damaged files are read or refused by a FormatError", () => {
    const rounds = fuzzRounds(2000)
    const { below } = dice(5)
    const factors = goldenTensors("lora/layers.safetensors")
    const keys = Object.keys(factors).filter((name) => name.startsWith("lora_unet_"))
    const layers = new Map(
      [...new Set(keys.map((key) => key.slice(10).split(".")[0]))].map((kind) => [
        kind,
        factors[`${kind}:weight`].shape,
      ]),
    )
    const part = {
      name: "unet",
      layers,
      aliases: new Map([...layers.keys()].map((kind) => [kind, kind])),
    } as const
    let refused = 0
    for (let i = 0; i < rounds; i++) {
      const damaged: Record<string, Tensor> = {}
      const hit = keys[below(keys.length)]
      const own = keys.filter((key) => key.split(".")[0] === hit.split(".")[0])
      for (const key of own) {
        const { shape } = factors[key]
        if (key !== hit) damaged[key] = factors[key]
        else if (below(3) === 0) damaged[own[below(own.length)]] = zeros("float32", shape)
        else {
          const changed = [...shape, 1].slice(0, below(shape.length + 2))
          if (changed.length > 0) changed[below(changed.length)] = below(14)
          damaged[key] = zeros("float32", changed)
        }
      }
      try {
        readLora(sourceOf(damaged), [part])
      } catch (error) {
        if (!(error instanceof FormatError)) throw error
        refused++
      }
    }
    expect(refused).toBeGreaterThan(rounds * 0.3)
    expect(refused).toBeLessThan(rounds)
  })
})
