import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { readPngText } from "../../src/formats/png-text.ts"
import type { IpScale } from "../../src/models/ip-scale.ts"
import { ipAdapter } from "../../src/pipelines/ip-adapter.ts"
import { load } from "../../src/pipelines/load.ts"
import { lora } from "../../src/pipelines/lora.ts"
import { readPictureSettings } from "../../src/pipelines/picture-settings.ts"
import type { TextToImageOptions } from "../../src/pipelines/text-to-image.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "../unit/golden.ts"
import type { TextCase } from "./same-pictures.ts"
import { expectNear, pictureOf, textOptions } from "./same-pictures.ts"

interface Case extends TextCase {
  model: string
  adapters: { path: string; scale: IpScale }[]
  lora: string | null
  pictures: number[][]
  masks: number[][] | null
}

const cases = goldenJson<Case[]>("ip-adapter/cases.json")
const given = goldenTensors("ip-adapter/pictures.safetensors")
const placeOf = (path: string) => join(goldenFolder, "ip-adapter", path)
const seeds = [41, 42, 43]

function optionsOf(one: Case): Omit<TextToImageOptions, "seed"> {
  const ipImages = one.pictures.map((numbers, i) =>
    numbers.map((n, k) => {
      const mask = one.masks?.[i][k]
      const masked = mask !== undefined && { mask: pictureOf(given[`${mask}.mask`]) }
      return { image: pictureOf(given[`${n}.picture`]), ...masked }
    }),
  )
  return { ...textOptions(one), ipImages }
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
      expectNear(images, golden[`images.${seed}`])
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
