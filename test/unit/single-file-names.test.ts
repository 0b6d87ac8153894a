import { describe, expect, it, test } from "vitest"
import { FormatError } from "../../src/ground/errors.ts"
import { sameShape } from "../../src/ground/shape.ts"
import {
  compVisAutoencoderName,
  compVisAverageName,
  compVisControlNetName,
  compVisUNetName,
} from "../../src/models/compvis-names.ts"
import { autoencoderConfig } from "../../src/models/config/autoencoder.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { controlNetConfig } from "../../src/models/config/controlnet.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { openClipPlace } from "../../src/models/open-clip-names.ts"
import { controlNetParameters } from "../../src/models/parameters/controlnet.ts"
import type { ParameterSpec } from "../../src/models/parameters/module.ts"
import { fittedModel } from "../../src/models/published-model.ts"
import { publishedStableDiffusion1 } from "../../src/models/stable-diffusion-1.ts"
import { publishedSdxl, publishedTurbo } from "../../src/models/stable-diffusion-xl.ts"
import { dice, fuzzRounds } from "./dice.ts"
import * as published from "./published-configs.ts"
import type { OriginalName } from "./tiny-stable-diffusion.ts"
import {
  readOriginalNames,
  specsOf,
  tinyStableDiffusion1,
  tinyStableDiffusionXl,
} from "./tiny-stable-diffusion.ts"

const unet = unetConfig(published.sd14Unet, "unet")
const vae = autoencoderConfig(published.sd14Autoencoder, "vae")
const xlUnet = unetConfig(published.sdxlUnet, "unet")

describe("names of the original files", () => {
  const { originalNames: names1 } = tinyStableDiffusion1
  const { originalNames: namesXl } = tinyStableDiffusionXl
  const unetName = (config: typeof unet) => (name: string) =>
    `model.diffusion_model.${compVisUNetName(name, config)}`
  const vaeName = (name: string) => `first_stage_model.${compVisAutoencoderName(name, vae)}`

  const namesOf = (rows: readonly OriginalName[], part: string) =>
    new Map(
      rows
        .filter(({ ours }) => ours.startsWith(`${part}.`))
        .map(({ theirs, ours, how }) => [ours.slice(part.length + 1), { theirs, how }]),
    )
  const named = (part: string, config: object, nameOf: (name: string) => string) =>
    new Map(specsOf(part, config).map(({ name }) => [name, { theirs: nameOf(name), how: "" }]))

  it.each([
    ["Stable Diffusion 1.4's U-Net", names1, "unet", published.sd14Unet, unetName(unet), 686],
    ["its autoencoder", names1, "vae", published.sd14Autoencoder, vaeName, 248],
    ["SDXL's U-Net", namesXl, "unet", published.sdxlUnet, unetName(xlUnet), 1680],
    ["SDXL's autoencoder", namesXl, "vae", published.sdxlAutoencoder, vaeName, 248],
    [
      "SDXL's first text encoder",
      namesXl,
      "text_encoder",
      published.clipL,
      (name: string) => `conditioner.embedders.0.transformer.${name}`,
      196,
    ],
  ])(
    "are those that diffusers' converter reads, with none left: %s",
    (_, rows, part, config, nameOf, count) => {
      const ours = named(part, config, nameOf)
      expect(ours).toEqual(namesOf(rows, part))
      expect(ours.size).toBe(count)
    },
  )

  it("are those of its authors in a ControlNet, which diffusers' converter reads too, with none left", () => {
    const config = controlNetConfig(published.sd14Unet, "controlnet")
    const rows = readOriginalNames("ldm_controlnet")
    const ours = controlNetParameters(config).map(({ name, shape }) => ({
      theirs: `control_model.${compVisControlNetName(name, config)}`,
      ours: `controlnet.${name}`,
      shape,
      how: "",
    }))
    const byName = (a: OriginalName, b: OriginalName) => (a.ours < b.ours ? -1 : 1)
    expect(ours.sort(byName)).toEqual(rows.toSorted(byName))
    expect(ours).toHaveLength(340)
  })

  it("are OpenCLIP's in SDXL's second text encoder, three layers of an attention in one, the projection turned", () => {
    const places = specsOf("text_encoder_2", published.clipBigG).map(({ name }) => {
      const { name: theirs, rows, transposed } = openClipPlace(name)
      const how = rows === undefined ? (transposed ? "T" : "") : `${rows.block}/${rows.of}`
      return [name, { theirs: `conditioner.embedders.1.model.${theirs}`, how }] as const
    })
    expect(new Map(places)).toEqual(namesOf(namesXl, "text_encoder_2"))
    expect(places).toHaveLength(517)
  })

  it("have our shapes, but for the autoencoder's attention, a convolution there", () => {
    const shapes = new Map(names1.map(({ ours, shape }) => [ours, shape]))
    const specs = (["unet", "vae"] as const).flatMap((part) =>
      specsOf(part, part === "unet" ? published.sd14Unet : published.sd14Autoencoder).map(
        ({ name, shape }): [string, ParameterSpec["shape"]] => [`${part}.${name}`, shape],
      ),
    )
    const other = specs.filter(([name, shape]) => !sameShape(shapes.get(name)!, shape))
    expect(other.map(([name]) => name.replace(/^vae\.(en|de)coder\.mid_block\.attentions\.0\./, ""))).toEqual(
      ["to_q", "to_k", "to_v", "to_out.0", "to_q", "to_k", "to_v", "to_out.0"].map(
        (layer) => `${layer}.weight`,
      ),
    )
    for (const [name, shape] of other) expect(shapes.get(name)).toEqual([...shape, 1, 1])
  })

  it("of averages have no dots", () => {
    expect(compVisAverageName("model.diffusion_model.input_blocks.0.0.weight")).toBe(
      "model_ema.diffusion_modelinput_blocks00weight",
    )
  })
})

describe("configurations", () => {
  const nothing = () => undefined
  test.each([
    [
      "Stable Diffusion 1.4",
      publishedStableDiffusion1,
      [published.sd14Unet, published.sd14Autoencoder, published.clipL],
    ],
    [
      "SDXL",
      publishedSdxl,
      [published.sdxlUnet, published.sdxlAutoencoder, published.clipL, published.clipBigG],
    ],
    [
      "SDXL-Turbo",
      publishedTurbo,
      [
        { ...published.sdxlUnet, sample_size: 64 },
        published.sdxlAutoencoder,
        published.clipL,
        published.clipBigG,
      ],
    ],
  ])("of %s are those published where no tensor says otherwise", (_, model, [unet, vae, ...texts]) => {
    const fitted = fittedModel(model, { unet: nothing, vae: nothing, texts: [nothing, nothing] })
    expect(unetConfig(fitted.unet, "")).toEqual(unetConfig(unet, ""))
    expect(autoencoderConfig(fitted.vae, "")).toEqual(autoencoderConfig(vae, ""))
    expect(fitted.texts.map((text) => clipTextConfig(text, ""))).toEqual(
      texts.map((text) => clipTextConfig(text, "")),
    )
  })

  test("from foreign shapes are refused or give a model's tensors, never anything else", () => {
    const random = dice(17)
    const rounds = fuzzRounds(100)
    let refused = 0
    for (let round = 0; round < rounds; round++) {
      // Multiples of 64 now and then, so that some go together.
      const sizes = round % 2 === 0 ? [0, 1, 3, 9, 32, 63, 64, 1e9] : [64, 128]
      const shapeOf = () =>
        random.below(3) === 0 ? undefined : Array.from({ length: random.below(5) }, () => random.pick(sizes))
      const model = random.pick([publishedStableDiffusion1, publishedSdxl])
      const { unet, vae, texts } = fittedModel(model, {
        unet: shapeOf,
        vae: shapeOf,
        texts: [shapeOf, shapeOf],
      })
      for (const [part, config] of Object.entries({ unet, vae, text_encoder: texts[0] }))
        try {
          const specs = specsOf(part, config)
          const counts = specs.flatMap(({ shape }) => shape)
          if (!counts.every((count) => Number.isInteger(count) && count > 0))
            expect.fail(`${part} has a shape of ${counts}`)
        } catch (error) {
          if (!(error instanceof FormatError)) throw error
          refused++
        }
    }
    expect(refused).toBeGreaterThan(rounds / 6)
    expect(refused).toBeLessThan(rounds * 2.8)
  })
})
