import { readdirSync, readFileSync } from "node:fs"
import { gunzipSync } from "node:zlib"
import { describe, expect, it } from "vitest"
import { FormatError } from "../../src/ground/errors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Shape } from "../../src/ground/shape.ts"
import { formatShape, sizeOf } from "../../src/ground/shape.ts"
import { autoencoderConfig } from "../../src/models/config/autoencoder.ts"
import { chatGlmConfig } from "../../src/models/config/chatglm.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { controlNetConfig } from "../../src/models/config/controlnet.ts"
import { taesdConfig } from "../../src/models/config/taesd.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { renameAutoencoderKey, renameTaesdKey } from "../../src/models/names.ts"
import { autoencoderParameters } from "../../src/models/parameters/autoencoder.ts"
import { chatGlmParameters, isChatGlmHead } from "../../src/models/parameters/chatglm.ts"
import { checkParameters } from "../../src/models/parameters/check.ts"
import { clipTextParameters } from "../../src/models/parameters/clip-text.ts"
import { controlNetParameters } from "../../src/models/parameters/controlnet.ts"
import { initialize } from "../../src/models/parameters/initialize.ts"
import type { ParameterSpec } from "../../src/models/parameters/module.ts"
import { taesdParameters } from "../../src/models/parameters/taesd.ts"
import { unetParameters } from "../../src/models/parameters/unet.ts"
import * as published from "./published-configs.ts"

const golden = new URL("../golden/", import.meta.url)

const parametersFrom = {
  UNet2DConditionModel: (config: unknown) => unetParameters(unetConfig(config, "config.json")),
  ControlNetModel: (config: unknown) => controlNetParameters(controlNetConfig(config, "config.json")),
  AutoencoderKL: (config: unknown) => autoencoderParameters(autoencoderConfig(config, "config.json")),
  AutoencoderTiny: (config: unknown) => taesdParameters(taesdConfig(config, "config.json")),
  CLIPTextModel: (config: unknown) => clipTextParameters(clipTextConfig(config, "config.json")),
}

/** `name <tab> shape` lines of a published checkpoint. */
function publishedKeys(name: string): string[] {
  return gunzipSync(readFileSync(new URL(`keys/${name}.txt.gz`, golden)))
    .toString()
    .trim()
    .split("\n")
}

const lines = (specs: readonly ParameterSpec[]) =>
  specs.map((spec) => `${spec.name}\t${formatShape(spec.shape)}`)
const count = (specs: readonly ParameterSpec[]) => specs.reduce((sum, spec) => sum + sizeOf(spec.shape), 0)

describe("published checkpoints, name by name and shape by shape", () => {
  const { UNet2DConditionModel: unet, AutoencoderKL: autoencoder, CLIPTextModel: clipText } = parametersFrom

  it.each<[string, ParameterSpec[], string[], number]>([
    ["Stable Diffusion 1.4's U-Net", unet(published.sd14Unet), publishedKeys("sd14_unet"), 859_520_964],
    ["SDXL's U-Net", unet(published.sdxlUnet), publishedKeys("sdxl_unet"), 2_567_463_684],
    ["Kolors' U-Net", unet(published.kolorsUnet), publishedKeys("kolors_unet"), 2_579_458_820],
    [
      "Kolors' inpainting U-Net",
      unet(published.kolorsInpaintUnet),
      publishedKeys("kolors_unet").with(0, "conv_in.weight\t[320, 9, 3, 3]"),
      2_579_473_220,
    ],
    [
      "Kolors' ControlNets",
      parametersFrom.ControlNetModel(published.kolorsUnet),
      publishedKeys("kolors_controlnet"),
      1_263_009_296,
    ],
    ["TAESD", parametersFrom.AutoencoderTiny({}), publishedKeys("taesd"), 2_445_063],
    ["the autoencoder", autoencoder(published.sd14Autoencoder), publishedKeys("vae"), 83_653_863],
    [
      "CLIP-L's text half",
      clipText(published.clipL),
      publishedKeys("clip_l_text").map((line) => `text_model.${line}`),
      123_060_480,
    ],
    ["CLIP-bigG's text half", clipText(published.clipBigG), publishedKeys("clip_bigg_text"), 694_659_840],
    [
      "ChatGLM3, less what follows its last layer",
      chatGlmParameters(chatGlmConfig(published.chatglm3, "config.json")),
      publishedKeys("chatglm3").filter((line) => !isChatGlmHead(line)),
      6_243_584_032 - 32 - 4096 - 65_024 * 4096,
    ],
  ])("%s", (_, specs, keys, total) => {
    expect(lines(specs)).toEqual(keys)
    expect(count(specs)).toBe(total)
  })
})

describe("tiny models as diffusers and transformers build them", () => {
  const models = JSON.parse(readFileSync(new URL("parameters.json", golden), "utf8")) as {
    model: keyof typeof parametersFrom
    config: unknown
    parameters: [name: string, shape: number[], kind: string, scale: number][]
  }[]

  it.each(models.map((model, i) => [i, model.model, model] as const))(
    "%i: %s",
    (_, name, { config, parameters }) => {
      const specs = parametersFrom[name](config)
      expect(specs.map(({ name, shape, init }) => [name, shape, init.kind])).toEqual(
        parameters.map(([name, shape, kind]) => [name, shape, kind]),
      )
      specs.forEach(({ name, init }, i) => {
        const scale = init.kind === "constant" ? init.value : init.kind === "uniform" ? init.bound : init.std
        const [, , , expected] = parameters[i]
        expect(Math.abs(scale - expected), name).toBeLessThanOrEqual(1e-6 * expected)
      })
    },
  )
})

describe("tiny checkpoints on disk", () => {
  const folders: [folder: string, model: keyof typeof parametersFrom][] = [
    ["unet", "UNet2DConditionModel"],
    ["vae", "AutoencoderKL"],
    ["clip-text", "CLIPTextModel"],
  ]
  const checkpoints = folders.flatMap(([folder, model]) =>
    readdirSync(new URL(`${folder}/`, golden)).map((name) => [`${folder}/${name}`, model] as const),
  )

  it.each(checkpoints)("%s holds what its config.json asks for", (folder, model) => {
    const at = new URL(`${folder}/`, golden)
    const config: unknown = JSON.parse(readFileSync(new URL("config.json", at), "utf8"))
    const files = readdirSync(at).filter((name) => /^(diffusion_pytorch_)?model.*\.safetensors$/.test(name))
    const variantOf = (name: string) => /\.(\w+)\.safetensors$/.exec(name)?.[1]
    const variants = new Set(files.map(variantOf))
    expect(variants.size).toBeGreaterThan(0)
    for (const variant of variants) {
      const shards = files.filter((name) => variantOf(name) === variant)
      const found = new Map(shards.flatMap((name) => safetensorsShapes(new URL(name, at))))
      const renamed = model === "AutoencoderKL" ? renameAll(found) : found
      expect(() => checkParameters(parametersFrom[model](config), renamed, folder)).not.toThrow()
    }
  })
})

/** Names and shapes from the header of a safetensors file. */
function safetensorsShapes(file: URL): [string, { shape: Shape }][] {
  const bytes = readFileSync(file)
  const header = bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE())).toString()
  const entries = Object.entries(JSON.parse(header) as Record<string, { shape: Shape }>)
  return entries.filter(([name]) => name !== "__metadata__")
}

function renameAll<T>(found: ReadonlyMap<string, T>): Map<string, T> {
  return new Map([...found].map(([name, value]) => [renameAutoencoderKey(name), value]))
}

describe("a fresh initialisation", () => {
  const specs = parametersFrom.CLIPTextModel({
    ...published.clipL,
    vocab_size: 200,
    hidden_size: 48,
    intermediate_size: 96,
    num_hidden_layers: 2,
  })
  const uniform = { name: "u", shape: [100, 300], init: { kind: "uniform", bound: 0.25 } } as const

  it("is the same for the same seed, and another for another", () => {
    const of = (seed: number) => initialize(specs, cpuGenerator(seed)).get(specs[0].name)?.data
    expect(of(7)).toEqual(of(7))
    expect(of(8)).not.toEqual(of(7))
  })

  it("has every tensor, in order and in its shape, alone in its memory", () => {
    const values = initialize(specs, cpuGenerator(1))
    expect([...values.keys()]).toEqual(specs.map((spec) => spec.name))
    for (const { name, shape } of specs) {
      const value = values.get(name)
      expect(value?.shape).toEqual(shape)
      expect(value?.data.length).toBe(sizeOf(shape))
    }
    expect(new Set([...values.values()].map((value) => value.data.buffer)).size).toBe(specs.length)
  })

  it.each([1, 2, 3])("draws from the stated distributions (seed %i)", (seed) => {
    const values = initialize([...specs, uniform], cpuGenerator(seed))
    for (const { name, init } of [...specs, uniform]) {
      const data = values.get(name)?.data ?? new Float32Array()
      if (init.kind === "constant") {
        expect(data.every((x) => x === init.value)).toBe(true)
        continue
      }
      const std = init.kind === "normal" ? init.std : init.bound / Math.sqrt(3)
      const mean = data.reduce((sum, x) => sum + x, 0) / data.length
      const variance = data.reduce((sum, x) => sum + (x - mean) ** 2, 0) / data.length
      // Five standard errors of the mean, and of the variance of a normal.
      expect(Math.abs(mean), name).toBeLessThan((5 * std) / Math.sqrt(data.length))
      expect(Math.abs(variance / std ** 2 - 1), name).toBeLessThan(5 * Math.sqrt(2 / data.length))
      if (init.kind === "uniform") expect(data.every((x) => Math.abs(x) <= init.bound)).toBe(true)
    }
  })

  it("turns draws of 0 and almost 1 into the two ends of a uniform", () => {
    const draws = Float32Array.from([0, 0.5, 1 - 2 ** -24])
    const random = {
      rand: (shape: Shape) => ({ dtype: "float32", shape, data: draws }) as const,
      randn: cpuGenerator(0).randn,
    }
    const [tensor] = initialize([{ ...uniform, shape: [3] }], random).values()
    expect([...tensor.data]).toEqual([-0.25, 0, Math.fround(0.25 * (1 - 2 ** -23))])
    expect([...draws]).toEqual([0, 0.5, 1 - 2 ** -24])
  })
})

describe("checking a checkpoint against its configuration", () => {
  const specs = parametersFrom.AutoencoderKL(published.sd14Autoencoder)
  const whole = new Map(specs.map(({ name, shape }) => [name, { shape }]))
  const check = (found: ReadonlyMap<string, { shape: Shape }>, ignore?: (name: string) => boolean) => () =>
    checkParameters(specs, found, "vae/model.safetensors", { ignore })
  const without = (...names: string[]) => new Map([...whole].filter(([name]) => !names.includes(name)))
  const extra = (...names: string[]) =>
    new Map([...whole, ...names.map((name) => [name, { shape: [1] }] as const)])

  it("accepts what it should hold, in any order, with position buffers", () => {
    expect(check(whole)).not.toThrow()
    expect(check(new Map([...whole].reverse()))).not.toThrow()
    expect(check(extra("text_model.embeddings.position_ids", "position_ids"))).not.toThrow()
  })

  it("names what is missing", () => {
    expect(check(without("quant_conv.bias"))).toThrow(FormatError)
    expect(check(without("quant_conv.bias"))).toThrow(
      "vae/model.safetensors lacks quant_conv.bias of the 248 tensors that its config.json asks for; " +
        "download it again, or use the config.json that belongs to it.",
    )
  })

  it("names three and counts the rest", () => {
    const encoderless = new Map([...whole].filter(([name]) => !name.startsWith("encoder.")))
    expect(check(encoderless)).toThrow(
      "lacks encoder.conv_in.weight, encoder.conv_in.bias, encoder.down_blocks.0.resnets.0.norm1.weight and 103 more of",
    )
  })

  it("names a tensor of another shape, with both shapes", () => {
    const wrong = new Map(whole).set("decoder.conv_in.weight", { shape: [512, 16, 3, 3] })
    expect(check(wrong)).toThrow(FormatError)
    expect(check(wrong)).toThrow(
      "vae/model.safetensors holds decoder.conv_in.weight with shape [512, 16, 3, 3] where its config.json asks for " +
        "[512, 4, 3, 3]; use the config.json that belongs to it.",
    )
  })

  it("names what should not be there, unless it may be ignored", () => {
    const found = extra("loss.logvar", "my_position_ids")
    expect(check(found)).toThrow(FormatError)
    expect(check(found)).toThrow(
      "vae/model.safetensors also holds loss.logvar, my_position_ids, which its config.json does not ask for; " +
        "use the config.json that belongs to it.",
    )
    expect(check(found, (name) => !whole.has(name))).not.toThrow()
  })
})

describe("old names of the autoencoder's attention", () => {
  it("become today's", () => {
    const at = "encoder.mid_block.attentions.0"
    for (const kind of ["weight", "bias"]) {
      expect(renameAutoencoderKey(`${at}.query.${kind}`)).toBe(`${at}.to_q.${kind}`)
      expect(renameAutoencoderKey(`${at}.key.${kind}`)).toBe(`${at}.to_k.${kind}`)
      expect(renameAutoencoderKey(`${at}.value.${kind}`)).toBe(`${at}.to_v.${kind}`)
      expect(renameAutoencoderKey(`${at}.proj_attn.${kind}`)).toBe(`${at}.to_out.0.${kind}`)
    }
  })

  it("leaves every name of today alone", () => {
    for (const { name } of parametersFrom.AutoencoderKL(published.sd14Autoencoder))
      expect(renameAutoencoderKey(name)).toBe(name)
  })
})

describe("numbered names of TAESD's two files", () => {
  it("become diffusers'", () => {
    expect(renameTaesdKey("0.weight", "encoder")).toBe("encoder.layers.0.weight")
    expect(renameTaesdKey("14.bias", "encoder")).toBe("encoder.layers.14.bias")
    expect(renameTaesdKey("1.weight", "decoder")).toBe("decoder.layers.0.weight")
    expect(renameTaesdKey("10.conv.4.bias", "decoder")).toBe("decoder.layers.9.conv.4.bias")
  })

  it("leaves every name of diffusers alone", () => {
    for (const { name } of parametersFrom.AutoencoderTiny({}))
      expect(renameTaesdKey(name, "decoder")).toBe(name)
  })
})
