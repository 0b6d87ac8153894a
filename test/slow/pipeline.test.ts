import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { int64 } from "../../src/ground/tensor.ts"
import { load } from "../../src/pipelines/load.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { encodePrompt } from "../../src/pipelines/prompts.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "../unit/golden.ts"

interface Case {
  name: string
  prompt: string
  negativePrompt: string
  seed: number
  height: number
  width: number
  steps: number
  guidanceScale: number
  eta: number
  imagesPerPrompt: number
  scheduler: { class: string; config: Record<string, unknown> }
}

let model: Model
beforeAll(async () => {
  model = await load(join(goldenFolder, "pipeline/model"), { device: "cpu", threads: 1 })
})
afterAll(() => model.close())

describe("textToImage against diffusers' StableDiffusionPipeline", () => {
  test.each(goldenJson<Case[]>("pipeline/cases.json"))("$name", async (given) => {
    const golden = goldenTensors(`pipeline/${given.name}.safetensors`)
    const { scheduler, name: _, ...options } = given
    const rows = [given.negativePrompt, given.prompt].flatMap((text) => model.tokenizer.tokenize(text).ids)
    expect(int64([2, 77], rows)).toEqual(golden.input_ids)
    const encoded = await encodePrompt(model, given.prompt)
    expect(relativeDifference(encoded, golden.prompt_embeds)).toBeLessThan(1e-5)

    const drifts: number[] = []
    const { images } = await textToImage(model, {
      ...options,
      scheduler: { ...scheduler.config, _class_name: scheduler.class },
      onStep: ({ step, latents }) => {
        drifts.push(relativeDifference(latents, golden[`latents.${step - 1}`]))
      },
    })
    expect(drifts).toHaveLength(Object.keys(golden).filter((key) => /^latents\.\d+$/.test(key)).length)
    expect(Math.max(...drifts)).toBeLessThan(1e-3)

    const [count, height, width] = golden.images.shape
    expect(images).toHaveLength(count)
    const bytes = images.flatMap(({ pixels }) => {
      expect(pixels).toMatchObject({ width, height, channels: 3 })
      return Array.from(pixels.data)
    })
    const near = bytes.filter((value, i) => Math.abs(value - Number(golden.images.data[i])) <= 1)
    expect(near.length / bytes.length).toBeGreaterThanOrEqual(0.999)
  })
})
