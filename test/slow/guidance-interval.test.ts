import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { UsageError } from "../../src/ground/errors.ts"
import { controlNet } from "../../src/pipelines/controlnet.ts"
import { load } from "../../src/pipelines/load.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { readPictureSettings } from "../../src/pipelines/picture-settings.ts"
import type { TextToImageOptions } from "../../src/pipelines/text-to-image.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder } from "../unit/golden.ts"
import { drawing as common, control } from "./interval-drawing.ts"

let model: Model
let controlled: Model
beforeAll(async () => {
  model = await load(join(goldenFolder, "pipeline/model"), { device: "cpu", threads: 1 })
  controlled = await model.with(controlNet(join(goldenFolder, "controlnet/sd1")))
})
afterAll(async () => {
  await controlled.close()
  await model.close()
})

const drawing = { ...common, steps: 4 }

/** The latents after each step. */
async function steps(by: Model, more: Partial<TextToImageOptions> = {}): Promise<readonly Float32Array[]> {
  const latents: Float32Array[] = []
  const controls = by === controlled ? [control] : undefined
  await textToImage(by, {
    ...drawing,
    controls,
    ...more,
    onStep: ({ latents: { data } }) => void latents.push(data),
  })
  return latents
}

function largestDifference(a: Float32Array, b: Float32Array): number {
  return a.reduce((most, v, i) => Math.max(most, Math.abs(v - b[i])), 0)
}

describe.each([
  ["a model", () => model],
  ["a model with a ControlNet", () => controlled],
])("guidance in part of the steps, of %s", (_, given) => {
  it("is the same as in all of them where the part is the whole, but for the order of sums", async () => {
    const [part, whole] = [await steps(given(), { guidanceInterval: [0, 1] }), await steps(given())]
    part.forEach((latents, i) => {
      expect(largestDifference(latents, whole[i])).toBeLessThan(1e-4)
    })
  })

  it("leaves the other steps as they are without guidance, and leads from the part on", async () => {
    const [late, without] = [
      await steps(given(), { guidanceInterval: [0.5, 1] }),
      await steps(given(), { guidanceScale: 1 }),
    ]
    const differences = late.map((latents, i) => largestDifference(latents, without[i]))
    // Guided, a ControlNet answers for twice as many rows at once, which may round otherwise.
    for (const before of differences.slice(0, 2)) expect(before).toBeLessThan(1e-5)
    for (const after of differences.slice(2)) expect(after).toBeGreaterThan(1e-3)
  })

  it("ends where it is said to", async () => {
    const [early, always] = [await steps(given(), { guidanceInterval: [0, 0.5] }), await steps(given())]
    const differences = early.map((latents, i) => largestDifference(latents, always[i]))
    for (const before of differences.slice(0, 2)) expect(before).toBeLessThan(1e-4)
    for (const after of differences.slice(2)) expect(after).toBeGreaterThan(1e-3)
  })
})

it("is told in the picture's file, to be drawn again", async () => {
  const first = await textToImage(model, { ...drawing, prompt: "an ink pot", guidanceInterval: [0.25, 0.75] })
  const { options } = readPictureSettings(first.image.text)
  expect(options.guidanceInterval).toEqual([0.25, 0.75])
  const again = await textToImage(model, { ...options, prompt: "an ink pot" })
  expect(again.image.pixels.data).toEqual(first.image.pixels.data)
})

it.each([[[0.6, 0.4]], [[0, 1.5]], [[-0.1, 1]], [[0.5]], [0.5], [["a", "b"]]])(
  "%j is no interval",
  async (guidanceInterval) => {
    const options = { ...drawing, guidanceInterval } as unknown as TextToImageOptions
    const refused = textToImage(model, options)
    await expect(refused).rejects.toThrow(UsageError)
    await expect(refused).rejects.toThrow(/guidanceInterval is .*; give two shares of the steps/)
  },
)
