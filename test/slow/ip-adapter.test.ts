import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { readPngText } from "../../src/formats/png-text.ts"
import type { Pixels } from "../../src/ground/image.ts"
import { pixels } from "../../src/ground/image.ts"
import type { IpScale } from "../../src/models/ip-scale.ts"
import { ipAdapter } from "../../src/pipelines/ip-adapter.ts"
import { load } from "../../src/pipelines/load.ts"
import { lora } from "../../src/pipelines/lora.ts"
import { readPictureSettings } from "../../src/pipelines/picture-settings.ts"
import type { TextToImageOptions } from "../../src/pipelines/text-to-image.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "../unit/golden.ts"

interface Case {
  name: string
  model: string
  adapters: { path: string; scale: IpScale }[]
  lora: string | null
  pictures: number[][]
  masks: number[][] | null
  scheduler: { class: string; config: Record<string, unknown> }
  prompt: string
  negativePrompt: string
  height: number
  width: number
  steps: number
  guidanceScale: number
  imagesPerPrompt: number
}

const cases = goldenJson<Case[]>("ip-adapter/cases.json")
const given = goldenTensors("ip-adapter/pictures.safetensors")
const placeOf = (path: string) => join(goldenFolder, "ip-adapter", path)
const seeds = [41, 42, 43]

function picture(name: string): Pixels {
  const [height, width] = given[name].shape
  return pixels(width, height, 3, given[name].data as Uint8Array)
}

function optionsOf(one: Case): Omit<TextToImageOptions, "seed"> {
  const { scheduler, prompt, negativePrompt, height, width, steps, guidanceScale, imagesPerPrompt } = one
  const ipImages = one.pictures.map((numbers, i) =>
    numbers.map((n, k) => {
      const mask = one.masks?.[i][k]
      return { image: picture(`${n}.picture`), ...(mask !== undefined && { mask: picture(`${mask}.mask`) }) }
    }),
  )
  const sizes = { height, width, steps, guidanceScale, imagesPerPrompt }
  return {
    ...sizes,
    prompt,
    negativePrompt,
    ipImages,
    scheduler: { ...scheduler.config, _class_name: scheduler.class },
  }
}

function opened(folder: string) {
  return load(join(goldenFolder, folder, "model"), { device: "cpu", threads: 1 })
}

describe("IP-Adapters against diffusers", () => {
  test.each(cases)("$name", async (one) => {
    const golden = goldenTensors(`ip-adapter/case-${one.name}.safetensors`)
    const base = await opened(one.model)
    const model = await base.with(
      ...one.adapters.map(({ path, scale }) => ipAdapter(placeOf(path), { scale })),
      ...(one.lora === null ? [] : [lora(join(goldenFolder, `lora/${one.lora}.safetensors`))]),
    )
    for (const seed of seeds) {
      const { latents, images, settings } = await textToImage(model, { ...optionsOf(one), seed })
      expect(relativeDifference(latents, golden[`latents.${seed}`])).toBeLessThan(1e-3)
      const expected = golden[`images.${seed}`].data
      const values = images.flatMap((image) => Array.from(image.pixels.data))
      const near = values.filter((value, i) => Math.abs(value - Number(expected[i])) <= 1)
      expect(values).toHaveLength(expected.length)
      expect(near.length / expected.length).toBeGreaterThanOrEqual(0.999)
      const ipAdapters = one.adapters.map(({ path, scale }) => ({
        name: path.replace(/^.*\//, "").replace(/\.\w+$/, ""),
        scale,
      }))
      expect(settings.ipAdapters).toEqual(ipAdapters)
      expect(readPictureSettings(readPngText(images[0].toPng()))).toMatchObject({ ipAdapters })
    }
    await Promise.all([model.close(), base.close()])
  })
})

test("an IP-Adapter in half precision agrees with float32", async () => {
  const one = cases.find(({ name }) => name === "masks")!
  const base = await load(join(goldenFolder, one.model, "model"), {
    device: "cpu",
    threads: 1,
    precision: "fp16",
  })
  const [{ path, scale }] = one.adapters
  const model = await base.with(ipAdapter(placeOf(path), { scale }))
  const { latents } = await textToImage(model, { ...optionsOf(one), seed: 41 })
  await Promise.all([model.close(), base.close()])
  const golden = goldenTensors("ip-adapter/case-masks.safetensors")
  expect(relativeDifference(latents, golden["latents.41"])).toBeLessThan(0.05)
})
