import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import { updateWeights } from "../../src/graph/passes/low-rank.ts"
import { FormatError, type LimnError, UsageError } from "../../src/ground/errors.ts"
import type { Pixels } from "../../src/ground/image.ts"
import { pixels } from "../../src/ground/image.ts"
import type { Shape } from "../../src/ground/shape.ts"
import { sizeOf } from "../../src/ground/shape.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { publishedClipImage } from "../../src/models/config/clip-image.ts"
import { clipVisionConfig } from "../../src/models/config/clip-vision.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { ipAdapterLayout, ipAdapterUpdates, textAttentions } from "../../src/models/ip-adapter.ts"
import type { IpScale } from "../../src/models/ip-scale.ts"
import { ipScales, isFiniteScale, styleScales } from "../../src/models/ip-scale.ts"
import { clipVisionParameters } from "../../src/models/parameters/clip-vision.ts"
import { unetParameters } from "../../src/models/parameters/unet.ts"
import { unet } from "../../src/models/unet.ts"
import { clipPixels } from "../../src/pipelines/clip-pixels.ts"
import { componentWeights, openComponent, openTensors } from "../../src/pipelines/component.ts"
import { ipAdapter } from "../../src/pipelines/ip-adapter.ts"
import { load } from "../../src/pipelines/load.ts"
import { maskForQueries, maskTensor } from "../../src/pipelines/masks.ts"
import { joinRows } from "../../src/pipelines/rows.ts"
import { openSession } from "../../src/runtime/session.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "./golden.ts"
import { kolorsUnet, sd14Unet, sdxlUnet } from "./published-configs.ts"

const golden = goldenTensors("ip-adapter/pictures.safetensors")
const placeOf = (path: string) => join(goldenFolder, "ip-adapter", path)

function picture(name: string): Pixels {
  const [height, width] = golden[name].shape
  return pixels(width, height, 3, golden[name].data as Uint8Array)
}

describe("pictures on their way to an IP-Adapter", () => {
  test.each([0, 1, 2, 3])("picture %i as transformers prepares it for CLIP", (n) => {
    expect(
      relativeDifference(clipPixels(picture(`${n}.picture`), publishedClipImage(28)), golden[`${n}.pixels`]),
    ).toBeLessThan(1e-6)
  })

  interface MaskCase {
    height: number
    width: number
    queries: number
    values: number[]
  }
  test.each(goldenJson<MaskCase[]>("ip-adapter/masks.json"))(
    "a mask of $width x $height for $queries queries",
    ({ height, width, queries, values }) => {
      const mask = maskForQueries(maskTensor(picture("0.mask"), width, height, false), queries)
      expect(relativeDifference(mask, float32([1, queries], values))).toBeLessThan(1e-6)
    },
  )

  test.each([
    ["whole", "pipeline", "whole.safetensors"],
    ["plus", "pipeline", "plus.bin"],
    ["full", "pipeline", "full.safetensors"],
    ["xl", "pipeline-xl", "xl"],
    ["kolors", "pipeline-xl", "kolors"],
  ])("become the tokens of diffusers: %s", async (name, folder, path) => {
    const expected = goldenTensors(`ip-adapter/components/${name}.safetensors`)
    const base = await load(join(goldenFolder, folder, "model"), { device: "cpu", threads: 1 })
    const model = await base.with(ipAdapter(placeOf(path)))
    const pictures = [picture("0.picture"), picture("1.picture")]
    const [none, ...seen] = await model.ipAdapters[0].readTokens([
      undefined,
      ...pictures.map((image) => ({ image })),
    ])
    expect(relativeDifference(none, expected.none)).toBeLessThan(1e-4)
    expect(relativeDifference(joinRows(seen), expected.tokens)).toBeLessThan(1e-4)
    expect((await model.ipAdapters[0].readTokens([{ image: pictures[1] }]))[0]).toBe(seen[1])
    await Promise.all([model.close(), base.close()])
  })
})

describe("attention to pictures", () => {
  test("beside the text that Kolors projects", async () => {
    const given = goldenTensors("ip-adapter/components/kolors-unet.safetensors")
    const opened = await openComponent(placeOf("kolors-unet"))
    const config = unetConfig(opened.config, "kolors-unet")
    const path = placeOf("components/kolors-unet-adapter.safetensors")
    const tensors = await openTensors([{ path }], (name) => name)
    expect(ipAdapterLayout(path, tensors, config).projection.kind).toBe("plus")
    const attentions = textAttentions(config)
    const { output: _, ...feeds } = given
    const [sample, timestep, encoderHiddenStates, textEmbeds, timeIds, tokens] = [
      "sample",
      "timestep",
      "encoder_hidden_states",
      "text_embeds",
      "time_ids",
      "tokens",
    ].map((name) => input(name, "float32", given[name].shape))
    const scales = input("scales", "float32", [attentions.length])
    const weights = componentWeights(opened, unetParameters(config))()
    const asked = { sample, timestep, encoderHiddenStates, textEmbeds, timeIds }
    const widened = updateWeights(
      { output: unet(asked, weights, config) },
      ipAdapterUpdates(
        attentions,
        { tensors, path, attentionPart: "ip_adapter" },
        { tokens, scales, mask: () => undefined },
        "ip0",
      ),
    )
    const session = await openSession(toOnnx(build(widened)), { device: "cpu", threads: 1 })
    const outputAt = async (scale: number) => {
      const fed = {
        ...feeds,
        scales: float32(
          [attentions.length],
          attentions.map(() => scale),
        ),
      }
      return (await session.run(fed)).output
    }
    expect(relativeDifference(await outputAt(0.6), given.output)).toBeLessThan(1e-4)
    expect(relativeDifference(await outputAt(0), given.output)).toBeGreaterThan(0.05)
    await session.close()
  })

  test("of the published U-Nets is numbered as adapters number it", () => {
    const sd = textAttentions(unetConfig(sd14Unet, "sd14"))
    const xl = textAttentions(unetConfig(sdxlUnet, "sdxl"))
    expect([sd.length, xl.length]).toEqual([16, 70])
    expect(sd.map(({ number }) => number)).toEqual(sd.map((_, i) => 2 * i + 1))
    expect(sd[0]).toEqual({
      path: "down_blocks.0.attentions.0.transformer_blocks.0.attn2",
      number: 1,
      level: 0,
      width: 320,
    })
    // Up comes before the middle.
    expect(sd[6]).toMatchObject({ number: 13, level: 2, width: 1280 })
    expect(sd[6].path).toMatch(/^up_blocks\.1\.attentions\.0\./)
    expect(sd[15]).toMatchObject({ number: 31, level: 3, width: 1280 })
    expect(sd[15].path).toMatch(/^mid_block\./)
    expect(xl[69]).toMatchObject({ number: 139, level: 2, width: 1280 })
    expect(xl[24].path).toMatch(/^up_blocks\.0\.attentions\.0\.transformer_blocks\.0\./)
  })

  test("has the published sizes in Kolors", () => {
    const config = unetConfig(kolorsUnet, "kolors")
    const shapes = new Map<string, { shape: Shape }>()
    const give = (name: string, ...shape: number[]) => shapes.set(`image_proj.${name}`, { shape })
    give("latents", 1, 16, 2048)
    give("proj_in.weight", 2048, 1024)
    give("proj_out.weight", 2048, 2048)
    give("norm_out.weight", 2048)
    for (let n = 0; n < 4; n++) give(`layers.${n}.0.to_q.weight`, 768, 2048)
    give("layers.0.1.1.weight", 8192, 2048)
    for (const { number } of textAttentions(config))
      shapes.set(`ip_adapter.${number}.to_k_ip.weight`, { shape: [] })
    const { projection, specs } = ipAdapterLayout("kolors", shapes, config)
    expect(projection).toEqual({
      kind: "plus",
      width: 2048,
      features: 1024,
      tokens: 16,
      hidden: 2048,
      heads: 12,
      layers: 4,
      widening: 4,
    })
    expect(specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(506_552_320)
    const vision = {
      hidden_size: 1024,
      intermediate_size: 4096,
      num_hidden_layers: 24,
      num_attention_heads: 16,
    }
    const encoder = { ...vision, image_size: 336, patch_size: 14, projection_dim: 768 }
    const own = clipVisionParameters(
      clipVisionConfig({ vision_config: encoder, projection_dim: 768 }, "kolors"),
    )
    expect(own.reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(304_293_888)
  })
})

describe("scales of the style, and of all but the style,", () => {
  const at = (config: unknown) => {
    const attentions = textAttentions(unetConfig(config, "config.json"))
    const { style, rest } = styleScales(attentions, { style: 0.9, rest: 0.4 })
    const folders = attentions.map(({ path }) => path.replace(/\.transformer.*/, ""))
    const where = (scale: IpScale, value: number) => {
      const scales = ipScales(scale, attentions)
      expect(new Set(scales)).toEqual(new Set([0, value]))
      return new Set(folders.filter((_, i) => scales[i] === value))
    }
    return { style: where(style, 0.9), rest: where(rest, 0.4), folders: new Set(folders) }
  }
  test.each([
    ["SDXL's and Kolors'", kolorsUnet, "up_blocks.0.attentions.1"],
    ["Stable Diffusion 1.x's", sd14Unet, "up_blocks.1.attentions.1"],
  ])("are those of %s middle of the first block on the way up", (_, config, place) => {
    const { style, rest, folders } = at(config)
    expect(style).toEqual(new Set([place]))
    expect(new Set([...style, ...rest])).toEqual(folders)
    expect(rest).not.toContain(place)
  })
})

describe("the scale of an IP-Adapter", () => {
  const attentions = textAttentions(unetConfig(sdxlUnet, "sdxl"))
  const at = (scale: IpScale) => {
    const scales = ipScales(scale, attentions)
    return Object.fromEntries(
      attentions.flatMap(({ path }, i) =>
        scales[i] === 0 ? [] : [[path.replace(/\.transformer.*/, ""), scales[i]]],
      ),
    )
  }
  test("is one for all, or for the blocks that it names", () => {
    expect(new Set(ipScales(0.4, attentions))).toEqual(new Set([0.4]))
    expect(at({ up: { block_0: [0, 1, 0] } })).toEqual({ "up_blocks.0.attentions.1": 1 })
    expect(at({ down: { block_2: [0, 0.5] }, mid: 2 })).toEqual({
      "down_blocks.2.attentions.1": 0.5,
      "mid_block.attentions.0": 2,
    })
    expect(at({ down: 0.3, up: { block_1: [0.7] } })).toEqual({
      "down_blocks.1.attentions.0": 0.3,
      "down_blocks.1.attentions.1": 0.3,
      "down_blocks.2.attentions.0": 0.3,
      "down_blocks.2.attentions.1": 0.3,
      "up_blocks.1.attentions.0": 0.7,
      "up_blocks.1.attentions.1": 0.7,
      "up_blocks.1.attentions.2": 0.7,
    })
  })

  test.each<[IpScale, RegExp]>([
    [
      { down: { block_0: 1 } },
      /no attention to the text in down\.block_0; scales are for down\.block_1, down\.block_2\./,
    ],
    [{ up: { block_0: [1, 0] } }, /There are 2 scales for up\.block_0; give one, or 3/],
  ])("%j is refused", (scale, message) => {
    expect(() => ipScales(scale, attentions)).toThrow(UsageError)
    expect(() => ipScales(scale, attentions)).toThrow(message)
  })

  test("must be of numbers", () => {
    expect(isFiniteScale({ up: { block_0: [0, 1, 0] }, mid: 1 })).toBe(true)
    expect(() => ipAdapter("a.bin", { scale: { up: { block_0: [0, Number.NaN] } } })).toThrow(UsageError)
    expect(() => ipAdapter("a.bin", { scale: Number.POSITIVE_INFINITY })).toThrow(
      "give a number, such as 0.6",
    )
  })
})

describe("an IP-Adapter's file", () => {
  const config = unetConfig(sd14Unet, "sd14")
  const shapesOf = (tensors: Record<string, Shape>) =>
    new Map(Object.entries(tensors).map(([name, shape]) => [name, { shape }]))
  const keys = (count: number) =>
    Object.fromEntries(
      Array.from({ length: count }, (_, i) => [`ip_adapter.${2 * i + 1}.to_k_ip.weight`, [1]]),
    )
  const whole = { "image_proj.proj.weight": [3072, 1024], "image_proj.norm.weight": [768] }

  test.each<[string, Record<string, Shape>, typeof LimnError, RegExp]>([
    ["nothing of one", { "unet.conv_in.weight": [1] }, FormatError, /holds no IP-Adapter/],
    ["no keys", whole, FormatError, /holds no IP-Adapter/],
    [
      "another base",
      { ...keys(70), "image_proj.proj.weight": [8192, 1280], "image_proj.norm.weight": [2048] },
      FormatError,
      /reads text 2048 wide, and this one reads 768/,
    ],
    [
      "another depth",
      { ...whole, ...keys(70) },
      FormatError,
      /70 attentions to the text, and this one has 16/,
    ],
    [
      "gaps",
      { ...keys(16), "image_proj.proj.weight": [3072, 1024] },
      FormatError,
      /lacks tensors of its image_proj/,
    ],
    [
      "gaps in what reads faces",
      { ...keys(16), "image_proj.norm.weight": [768], "image_proj.proj.2.weight": [3072, 1024] },
      FormatError,
      /lacks tensors of its image_proj/,
    ],
  ])("with %s is refused", (_, tensors, kind, message) => {
    expect(() => ipAdapterLayout("a.bin", shapesOf(tensors), config)).toThrow(kind)
    expect(() => ipAdapterLayout("a.bin", shapesOf(tensors), config)).toThrow(message)
  })
})
