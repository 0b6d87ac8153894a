import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { UsageError } from "../../src/ground/errors.ts"
import { resizeImage } from "../../src/ground/resize.ts"
import { controlNet } from "../../src/pipelines/controlnet.ts"
import type { DenoiseStep } from "../../src/pipelines/denoise.ts"
import type { HiresFixOptions } from "../../src/pipelines/hires-fix.ts"
import { hiresFix } from "../../src/pipelines/hires-fix.ts"
import { imageToImage } from "../../src/pipelines/image-to-image.ts"
import { ipAdapter } from "../../src/pipelines/ip-adapter.ts"
import { load } from "../../src/pipelines/load.ts"
import { lora } from "../../src/pipelines/lora.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { readPictureSettings } from "../../src/pipelines/picture-settings.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { grid } from "../../src/recipes/grid.ts"
import { goldenFolder } from "../unit/golden.ts"
import { checkedModel } from "./checked-model.ts"

const loaded = (folder: string) => load(join(goldenFolder, folder), { device: "cpu", threads: 1 })

let model: Model
beforeAll(async () => {
  model = await loaded("pipeline/model")
}, 60_000)
afterAll(() => model.close())

const options = { prompt: "a cat", negativePrompt: "rain", width: 64, height: 48, steps: 3, seed: 5 }

/** The first picture of a drawing in two stages, made by hand. */
async function byHand(
  model: Model,
  { upscale = 2, upscaleStrength, upscaleSteps, ...given }: HiresFixOptions,
) {
  const { image } = await textToImage(model, given)
  const [width, height] = [image.pixels.width, image.pixels.height].map(
    (side) => Math.round((side * upscale) / 8) * 8,
  )
  return imageToImage(model, {
    ...given,
    image: resizeImage(image.pixels, width, height),
    width,
    height,
    steps: upscaleSteps ?? given.steps,
    strength: upscaleStrength ?? 0.5,
  })
}

describe("a picture in two stages is text to image, a larger picture, image to image", () => {
  test.each<[string, HiresFixOptions]>([
    ["pipeline/model", options],
    [
      "pipeline/model",
      { ...options, scheduler: "Euler a", upscale: 1.3, upscaleStrength: 0.8, upscaleSteps: 4 },
    ],
    ["pipeline/model", { ...options, variationOf: 3, variationStrength: 0.4, noise: "cuda" }],
    ["pipeline-xl/model", options],
    ["pipeline-kolors/model", options],
  ])("%s, %o", async (folder, options) => {
    const own = await loaded(folder)
    try {
      const { image, latents, settings } = await hiresFix(own, options)
      const expected = await byHand(own, options)
      expect(image.pixels).toEqual(expected.image.pixels)
      expect(latents).toEqual(expected.latents)
      expect(settings).toMatchObject({ width: 64, height: 48, upscale: options.upscale ?? 2, steps: 3 })
    } finally {
      await own.close()
    }
  })

  test("with a LoRA, a ControlNet and an IP-Adapter", async () => {
    const { image: seen } = await textToImage(model, options)
    const dressed = await model.with(
      lora(join(goldenFolder, "lora/ink.safetensors")),
      controlNet(join(goldenFolder, "controlnet/sd1")),
      ipAdapter(join(goldenFolder, "ip-adapter/whole.safetensors")),
    )
    try {
      const given = { ...options, controls: [{ image: seen.pixels, scale: 0.7 }], ipImages: [seen.pixels] }
      const { image } = await hiresFix(dressed, given)
      expect(image.pixels).toEqual((await byHand(dressed, given)).image.pixels)
    } finally {
      await dressed.close()
    }
  })

  test("each of several pictures after its own first stage, and from its file again", async () => {
    const several = {
      ...options,
      prompt: ["a cat", "a dog"],
      negativePrompt: ["rain", ""],
      imagesPerPrompt: 2,
      guidanceScale: 3,
    }
    const { images, latents } = await hiresFix(model, { ...several, seed: [1, 2, 3, 4] })
    expect(latents.shape).toEqual([4, 4, 12, 16])
    for (const [i, { pixels, text }] of images.entries()) {
      const { options, picture } = readPictureSettings(text)
      expect(picture).toBe(0)
      expect(options).toMatchObject({ prompt: i < 2 ? "a cat" : "a dog", seed: i + 1, upscale: 2 })
      const again = (await hiresFix(model, options)).image.pixels
      const far = pixels.data.filter((v, k) => Math.abs(v - again.data[k]) > 1)
      expect(far.length / pixels.data.length).toBeLessThan(0.001)
    }
    const one = await hiresFix(model, several)
    const { options: same, picture } = readPictureSettings(one.images[3].text)
    expect(picture).toBe(3)
    expect((await hiresFix(model, same)).images[3].pixels).toEqual(one.images[3].pixels)
  })
})

test("steps count through both stages, and can be stopped in each", async () => {
  const seen: string[] = []
  const given = { ...options, imagesPerPrompt: 2, scheduler: "heun", upscaleSteps: 4 }
  await hiresFix(model, { ...given, onStep: ({ step, steps }) => void seen.push(`${step}/${steps}`) })
  // Heun's order is two: 5 runs of 3 steps, and 3 of the last 2 steps of 4.
  expect(seen).toEqual(Array.from({ length: 11 }, (_, i) => `${i + 1}/11`))
  const reason = new Error("enough")
  for (const last of [2, 7]) {
    const stop = new AbortController()
    let reached = 0
    const onStep = ({ step }: { step: number }) => {
      reached = step
      if (step === last) stop.abort(reason)
    }
    await expect(hiresFix(model, { ...given, onStep, signal: stop.signal })).rejects.toBe(reason)
    expect(reached).toBe(last)
  }
})

test("web tools read of both stages in a picture's file", async () => {
  const { image } = await hiresFix(model, {
    ...options,
    upscale: 1.5,
    upscaleStrength: 0.4,
    upscaleSteps: 10,
  })
  expect(image.text.parameters).toContain(
    "Size: 64x48, Model: model, Denoising strength: 0.4, Hires upscale: 1.5, Hires steps: 4, Hires upscaler: Lanczos",
  )
  const { options: read } = readPictureSettings({ parameters: image.text.parameters })
  expect(read).toMatchObject({ upscale: 1.5, upscaleStrength: 0.4, upscaleSteps: 10, width: 64 })
  expect(read.strength).toBeUndefined()
})

test("a grid is drawn in two stages too", async () => {
  const { cells } = await grid(model, { ...options, upscale: 2, x: { setting: "seed", values: [1, 2] } })
  for (const [i, { image }] of cells[0].entries())
    expect(image.pixels).toEqual((await hiresFix(model, { ...options, seed: i + 1 })).image.pixels)
})

test("what the safety checker withholds after the first stage stays black, and is not drawn on", async () => {
  const { folder, given, withheld, remove } = checkedModel()
  const model = await load(folder, { device: "cpu", threads: 1 })
  try {
    const seen: string[] = []
    const onStep = ({ step, steps }: DenoiseStep) => void seen.push(`${step}/${steps}`)
    const drawn = await hiresFix(model, { ...given, onStep })
    expect([seen[0], seen.at(-1)]).toEqual(["1/10", "8/8"])
    for (const [i, was] of withheld.entries()) {
      const { width, data } = drawn.images[i].pixels
      expect(width).toBe(160)
      if (was) expect(drawn.withheld[i]).toBe(true)
      expect(data.every((v) => v === 0)).toBe(drawn.withheld[i])
    }
    expect(drawn.warnings.filter((one) => one.includes("withheld"))).toHaveLength(1)
  } finally {
    await model.close()
    remove()
  }
})

test.each<[Partial<HiresFixOptions>, string]>([
  [{ upscale: 0.5 }, "upscale is 0.5; give a number from 1 on, such as 2."],
  [{ upscale: Number.NaN }, "upscale is NaN; give a number from 1 on"],
  [{ upscaleStrength: 2 }, "strength is 2; give a number from 0 to 1."],
  [{ upscaleStrength: 0.1 }, "3 steps at strength 0.1 leave none to walk"],
  [{ upscaleSteps: 1.5 }, "steps is 1.5; give a whole number from 1 on."],
])("%o cannot be", async (wrong, message) => {
  let steps = 0
  const drawing = hiresFix(model, { ...options, ...wrong, onStep: () => void steps++ })
  await expect(drawing).rejects.toThrow(UsageError)
  await expect(drawing).rejects.toThrow(message)
  expect(steps).toBe(0)
})
