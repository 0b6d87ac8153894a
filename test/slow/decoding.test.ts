import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { concat, slice, upsampleNearest } from "../../src/graph/ops/index.ts"
import { FormatError, UsageError } from "../../src/ground/errors.ts"
import { pixels } from "../../src/ground/image.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { taesdConfig } from "../../src/models/config/taesd.ts"
import { initialize } from "../../src/models/parameters/initialize.ts"
import { taesdParameters } from "../../src/models/parameters/taesd.ts"
import { decodeLatents, encodePixels } from "../../src/pipelines/autoencoder.ts"
import { pixelsFromTensor } from "../../src/pipelines/image.ts"
import { imageToImage } from "../../src/pipelines/image-to-image.ts"
import { load } from "../../src/pipelines/load.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { network } from "../../src/pipelines/network.ts"
import { readPictureSettings } from "../../src/pipelines/picture-settings.ts"
import { linearPreview } from "../../src/pipelines/preview.ts"
import {
  choosePreview,
  stableDiffusionPreview,
  stableDiffusionXlPreview,
} from "../../src/pipelines/preview-factors.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, goldenJson, goldenTensors } from "../unit/golden.ts"

const tiny = join(goldenFolder, "pipeline/model")
const taesd = join(goldenFolder, "taesd/random")
const running = { device: "cpu", threads: 1 } as const

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "limn-decoding-"))
})
afterEach(() => rmSync(folder, { recursive: true }))

describe("a model with TAESD for a decoder", () => {
  const options = { prompt: "a red heart", steps: 1, seed: 3, scheduler: "euler" }

  test("draws the same latents, decoded by TAESD", async () => {
    const own = await load(tiny, running)
    const fast = await load(tiny, { ...running, decoder: taesd })
    const [first, second] = [await textToImage(own, options), await textToImage(fast, options)]
    await own.close()
    expect(second.latents).toEqual(first.latents)
    expect(second.image.pixels).not.toEqual(first.image.pixels)
    expect(await decodeLatents(fast, second.latents)).toEqual([second.image.pixels])
    expect(second.settings.decoder).toBe("random")
    expect(first.settings).not.toHaveProperty("decoder")
    expect(readPictureSettings(second.image.text)).toMatchObject({ decoder: "random", model: "model" })
    await fast.close()
  })

  test("decodes what the golden decodes", async () => {
    const model = await load(tiny, { ...running, decoder: taesd })
    const { latents, decoded } = goldenTensors("taesd/random/case-19x26.safetensors")
    const [picture] = await decodeLatents(model, latents as Tensor<"float32">)
    const expected = pixelsFromTensor(decoded as Tensor<"float32">)
    const far = picture.data.filter((v, i) => Math.abs(v - expected.data[i]) > 1)
    expect(far).toHaveLength(0)
    await model.close()
  })

  test("reads the author's file as diffusers' one", async () => {
    const specs = taesdParameters(taesdConfig({}, "")).filter(({ name }) => name.startsWith("decoder."))
    const weights = initialize(specs, cpuGenerator(5))
    const numbered = [...weights].map(([name, tensor]) => {
      const [, , layer, ...rest] = name.split(".")
      return [[Number(layer) + 1, ...rest].join("."), tensor] as const
    })
    const files = { "named.safetensors": weights, "taesd_decoder.safetensors": new Map(numbered) }
    const pictures = []
    for (const [file, tensors] of Object.entries(files)) {
      writeFileSync(join(folder, file), Buffer.concat(encodeSafetensors(Object.fromEntries(tensors))))
      const model = await load(tiny, { ...running, decoder: join(folder, file) })
      pictures.push(...(await decodeLatents(model, cpuGenerator(6).randn([1, 4, 2, 3]))))
      await model.close()
    }
    expect(pictures[0]).toMatchObject({ width: 24, height: 16 })
    expect(pictures[1]).toEqual(pictures[0])
  })

  test.each<[string, string, string, typeof FormatError | typeof UsageError, RegExp]>([
    [
      "nothing",
      tiny,
      "no/such/file",
      UsageError,
      /There is nothing at .*; give TAESD's decoder, as a file or/,
    ],
    [
      "another autoencoder",
      tiny,
      join(goldenFolder, "vae/two-levels/diffusion_pytorch_model.safetensors"),
      FormatError,
      /lacks decoder\.layers\.0\.weight, .* TAESD's decoder asks for; .*such as taesd_decoder\.safetensors\.$/,
    ],
    [
      "another autoencoder's folder",
      tiny,
      join(goldenFolder, "vae/two-levels"),
      FormatError,
      /two-levels.config\.json: "act_fn" is "silu"; limn supports "relu"\./,
    ],
    [
      "one for other latents",
      join(import.meta.dirname, "../../models/inkling"),
      taesd,
      UsageError,
      /decodes latents of 4 channels, 8 pixels wide, into 3 colours, and those of this model have 6 and are 4 wide;/,
    ],
  ])("says in one sentence what is wrong with %s", async (_, model, decoder, kind, message) => {
    const loading = load(model, { ...running, decoder })
    await expect(loading).rejects.toThrow(kind)
    await expect(loading).rejects.toThrow(message)
  })
})

describe("tiles", () => {
  let shapes: string[]
  /** A real network, as cheap as can be, that tells which sizes it is asked for. */
  function enlarging() {
    return network(
      ({ latents }) => {
        const [, , height, width] = latents.shape
        shapes.push(`${width}x${height}`)
        return { image: upsampleNearest(slice(latents, 1, 0, 3), 8 * height, 8 * width) }
      },
      { ...running, precision: "fp32" },
    )
  }
  beforeEach(() => {
    shapes = []
  })

  test.each<[number, number, boolean | undefined, string[]]>([
    [128, 128, undefined, ["128x128"]],
    [130, 128, undefined, ["64x64", "34x64", "64x32", "34x32"]],
    [80, 16, true, ["64x16", "32x16"]],
    [64, 64, true, ["64x64"]],
    [130, 128, false, ["130x128"]],
  ])("of %i x %i latents, tiled %s", async (width, height, tiled, expected) => {
    const model = { decoder: enlarging(), latentPixels: 8 }
    const latents = cpuGenerator(1).randn([1, 4, height, width])
    const [picture] = await decodeLatents(model, latents, { tiled })
    await model.decoder.close()
    expect([...shapes].sort()).toEqual([...expected].sort())
    const whole = Float32Array.from({ length: 3 * 64 * height * width }, (_, i) => {
      const [x, y] = [i % (8 * width), Math.floor(i / (8 * width))]
      return latents.data[Math.floor(y / 8) * width + Math.floor(x / 8)]
    })
    const exact = pixelsFromTensor(float32([1, 3, 8 * height, 8 * width], whole))
    // Fading from a value to the same value may round.
    expect(picture.data.every((v, i) => Math.abs(v - exact.data[i]) <= 1)).toBe(true)
  })

  test("are what pictures are encoded in, too", async () => {
    const encoder = network(
      ({ image }) => {
        const [, , height, width] = image.shape
        shapes.push(`${width}x${height}`)
        return {
          moments: concat(
            [slice(image, 2, 0, height, 8)].map((v) => slice(v, 3, 0, width, 8)),
            1,
          ),
        }
      },
      { ...running, precision: "fp32" },
    )
    const image = cpuGenerator(1).randn([1, 3, 16, 1040])
    const moments = await encodePixels({ encoder }, image, { tiled: true })
    await encoder.close()
    expect(shapes).toEqual(["512x16", "272x16"])
    expect(moments.shape).toEqual([1, 3, 2, 130])
  })

  test("are told in the settings where they were asked for", async () => {
    const model = await load(tiny, running)
    const size = { width: 520, height: 16 }
    const options = { prompt: "", steps: 1, seed: 1, guidanceScale: 1, ...size }
    const [whole, tiled] = [
      await textToImage(model, options),
      await textToImage(model, { ...options, tiled: true }),
    ]
    expect(whole.settings).not.toHaveProperty("tiled")
    expect(tiled.settings.tiled).toBe(true)
    expect(tiled.latents).toEqual(whole.latents)
    expect(tiled.image.pixels).not.toEqual(whole.image.pixels)
    expect(await decodeLatents(model, tiled.latents, { tiled: true })).toEqual([tiled.image.pixels])
    const image = pixels(
      520,
      16,
      3,
      new Uint8Array(3 * 520 * 16).map((_, i) => (i * i) % 251),
    )
    const over = { ...options, image, strength: 1, seed: 2 }
    const [plain, parts] = [
      await imageToImage(model, over),
      await imageToImage(model, { ...over, tiled: true }),
    ]
    expect(parts.latents).not.toEqual(plain.latents)
    await model.close()
  })
})

describe("a linear preview", () => {
  let model: Model
  beforeAll(async () => {
    model = await load(tiny, running)
  })
  afterAll(() => model.close())

  test("has the factors that the reference found", () => {
    const golden = goldenJson<Record<string, { factors: number[][]; error: number }>>("preview.json")
    expect(stableDiffusionPreview).toEqual(golden.taesd.factors)
    expect(stableDiffusionXlPreview).toEqual(golden.taesdxl.factors)
    expect(model.preview).toEqual(stableDiffusionPreview)
  })

  test("is not known for latents of other widths than the family's", () => {
    expect(choosePreview(undefined, stableDiffusionPreview, 4, "")).toBe(stableDiffusionPreview)
    expect(choosePreview(undefined, stableDiffusionPreview, 6, "")).toBeUndefined()
  })

  test("is one pixel for each place of each row", () => {
    const latents = cpuGenerator(4).randn([2, 4, 3, 5])
    const previews = linearPreview(model, latents)
    expect(previews).toHaveLength(2)
    const [, second] = previews
    expect(second).toMatchObject({ width: 5, height: 3, channels: 3 })
    for (const [place, colour] of [
      [0, 0],
      [7, 1],
      [14, 2],
    ]) {
      const terms = [0, 1, 2, 3].map(
        (c) => latents.data[60 + 15 * c + place] * stableDiffusionPreview[c][colour],
      )
      const value = terms.reduce((sum, v) => sum + v, stableDiffusionPreview[4][colour])
      const byte = Math.min(255, Math.max(0, Math.round(255 * (0.5 * value + 0.5))))
      expect(Math.abs(second.data[3 * place + colour] - byte)).toBeLessThanOrEqual(1)
    }
  })

  test("shows a step while it is drawn", async () => {
    const sizes: number[] = []
    const onStep = ({ predOriginalSample }: { predOriginalSample: Tensor<"float32"> }) => {
      for (const { width, height } of linearPreview(model, predOriginalSample)) sizes.push(width, height)
    }
    await textToImage(model, { prompt: "", steps: 2, seed: 1, guidanceScale: 1, scheduler: "euler", onStep })
    expect(sizes).toEqual([8, 8, 8, 8])
  })

  test("needs factors for the model's latents", () => {
    const latents = cpuGenerator(4).randn([1, 6, 2, 2])
    expect(() => linearPreview({ path: "some/model", preview: undefined }, latents)).toThrow(UsageError)
    expect(() => linearPreview({ path: "some/model", preview: undefined }, latents)).toThrow(
      'some/model says nothing of its latents\' colours; put "preview" into its limn.json, or decode the latents.',
    )
  })
})
