import { join } from "node:path"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import type { IpScale } from "../../src/models/ip-scale.ts"
import { controlNet } from "../../src/pipelines/controlnet.ts"
import { ipAdapter } from "../../src/pipelines/ip-adapter.ts"
import { load } from "../../src/pipelines/load.ts"
import { lora } from "../../src/pipelines/lora.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { encodePrompt } from "../../src/pipelines/prompts.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "../unit/golden.ts"
import { kolorsAdapter } from "../unit/kolors-adapter.ts"
import { kolorsInpainting } from "../unit/kolors-inpainting.ts"
import type { Case, TextCase } from "./same-pictures.ts"
import { expectNear, expectSamePictures, pictureOf, textOptions } from "./same-pictures.ts"

const options = { device: "cpu", threads: 1 } as const
const folder = join(goldenFolder, "pipeline-kolors/model")
const net = controlNet(join(goldenFolder, "kolors-controls/controlnet"))
const adapter = kolorsAdapter()
const seen = goldenTensors("ip-adapter/pictures.safetensors")

let base: Model
let model: Model
const loaded = (place: string) => {
  beforeAll(async () => {
    base = await load(place, options)
  })
  afterEach(() => model.close())
  afterAll(() => base.close())
}

describe.each([
  ["pipeline-kolors", folder],
  ["nine", kolorsInpainting()],
])("ControlNets and IP-Adapters against Kolors' repository, model %s", (name, place) => {
  interface Controlled extends Case {
    adapter: { scale: IpScale; pictures: number[] } | null
  }
  loaded(place)
  const cases = goldenJson<Controlled[]>("kolors-controls/cases.json").filter((one) => one.model === name)
  test.each(cases)("$name", async ({ adapter: looked, ...given }) => {
    model = await base.with(
      ...given.controls!.map(() => net),
      ...(looked ? [ipAdapter(adapter, { scale: looked.scale })] : []),
    )
    const ipImages = looked?.pictures.map((n) => pictureOf(seen[`${n}.picture`]))
    const golden = goldenTensors(`kolors-controls/${given.name}.safetensors`)
    await expectSamePictures(model, given, golden, { ipImages })
  })
})

describe("what is added to Kolors counts as much as its repository says", () => {
  loaded(folder)
  test("where no scale is given", async () => {
    model = await base.with(net, ipAdapter(adapter), lora(join(goldenFolder, "kolors-lora/checkpoint")))
    const picture = pictureOf(seen["0.picture"])
    const { settings } = await textToImage(model, {
      prompt: "a cat",
      steps: 1,
      guidanceScale: 1,
      controls: [{ image: picture }],
      ipImages: [picture],
    })
    expect(settings).toMatchObject({
      controls: [{ name: "controlnet", scale: 0.8, start: 0, end: 1 }],
      ipAdapters: [{ name: "ip_adapter_plus_general", scale: 0.5 }],
      loras: [{ name: "checkpoint", scale: 0.8 }],
    })
  })
})

describe("LoRAs as Kolors' DreamBooth script saves them, against its script of inference", () => {
  interface Tuned extends TextCase {
    seed: number
    unet: number | null
    text: boolean
  }
  loaded(folder)
  const place = join(goldenFolder, "kolors-lora/checkpoint")
  const [ofUNet, ofText] = ["pytorch_lora_weights", "adapter_model"].map((name) =>
    join(place, `${name}.safetensors`),
  )
  /** All ways to say the same; where the scale is the script's, it need not be said. */
  const ways = (unet: number | null, text: boolean) => {
    const given = unet === null || unet === 0.8 ? {} : { scale: unet }
    if (unet === null) return [[lora(ofText)]]
    return text ? [[lora(place, given)], [lora(ofUNet, given), lora(ofText)]] : [[lora(ofUNet, given)]]
  }
  const cases = goldenJson<Tuned[]>("kolors-lora/cases.json").flatMap((one) =>
    ways(one.unet, one.text).map((loras, way) => ({ ...one, loras, way })),
  )
  test.each(cases)("$name, way $way", async (given) => {
    model = await base.with(...given.loras)
    const golden = goldenTensors(`kolors-lora/${given.name}.safetensors`)
    const { encoderHiddenStates, textEmbeds } = await encodePrompt(model, given.prompt)
    expect(relativeDifference(encoderHiddenStates, golden.prompt_embeds)).toBeLessThan(1e-4)
    expect(relativeDifference(textEmbeds, golden.pooled_prompt_embeds)).toBeLessThan(1e-4)
    const { latents, images } = await textToImage(model, { ...textOptions(given), seed: given.seed })
    expect(relativeDifference(latents, golden.latents)).toBeLessThan(1e-3)
    expectNear(images, golden.images)
  })
})
