import { expect } from "vitest"
import { type Pixels, pixels } from "../../src/ground/image.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import type { DenoiseStep } from "../../src/pipelines/denoise.ts"
import type { DrawOptions } from "../../src/pipelines/draw.ts"
import type { Image } from "../../src/pipelines/image.ts"
import { imageToImage } from "../../src/pipelines/image-to-image.ts"
import { inpaint } from "../../src/pipelines/inpaint.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { relativeDifference } from "../unit/golden.ts"

/** What every golden's cases.json says of one drawing. */
export interface TextCase {
  name: string
  prompt: string
  /** null where the reference was given none. */
  negativePrompt: string | null
  height: number
  width: number
  steps: number
  guidanceScale: number
  imagesPerPrompt?: number
  scheduler: { class: string; config: Record<string, unknown> }
}

/** And what it says of a drawing from one seed, from text or from pictures too. */
export interface Case extends TextCase {
  /** Text to image where nothing else is said. */
  verb?: "text-to-image" | "image-to-image" | "inpaint"
  model?: string
  strength?: number
  seed: number | number[]
  variationOf?: number
  variationStrength?: number
  eta?: number
  clipSkip?: number
  /** For inpainting. */
  softMask?: boolean
  /** Folders of the ControlNets that the model has. */
  controlNets?: string[]
  controls?: { scale: number; start: number; end: number }[]
  guessMode?: boolean
}

/** The options of a drawing from text, but for its seed. */
export function textOptions(given: TextCase) {
  const { prompt, negativePrompt, height, width, steps, guidanceScale, imagesPerPrompt, scheduler } = given
  return {
    prompt,
    negativePrompt: negativePrompt ?? undefined,
    height,
    width,
    steps,
    guidanceScale,
    imagesPerPrompt,
    scheduler: { ...scheduler.config, _class_name: scheduler.class },
  }
}

/** A picture of a golden file. */
export function pictureOf({ shape, data }: Tensor): Pixels {
  const [height, width] = shape
  return pixels(width, height, 3, data as Uint8Array)
}

/** Draws as the case says: over the golden's picture, into it, or from the text alone. */
function drawCase(
  model: Model,
  options: DrawOptions,
  { verb, strength, softMask }: Case,
  golden: Record<string, Tensor>,
) {
  if (verb === undefined || verb === "text-to-image") return textToImage(model, options)
  const given = { ...options, strength, image: pictureOf(golden.image) }
  if (verb === "image-to-image") return imageToImage(model, given)
  return inpaint(model, { ...given, mask: pictureOf(golden.mask), softMask })
}

/** 99.9% of 8-bit values within 1. */
export function expectNear(images: readonly Image[], { data }: Tensor): void {
  const bytes = images.flatMap(({ pixels }) => Array.from(pixels.data))
  expect(bytes).toHaveLength(data.length)
  const near = bytes.filter((value, i) => Math.abs(value - Number(data[i])) <= 1)
  expect(near.length / bytes.length).toBeGreaterThanOrEqual(0.999)
}

/** Latents after every step within 1e-3 of the largest, and 99.9% of 8-bit values within 1. */
export async function expectSamePictures(
  model: Model,
  given: Case,
  golden: Record<string, Tensor>,
  more: Partial<DrawOptions> = {},
): Promise<void> {
  const { controls, name: _, verb: __, model: ___, strength: ____, softMask: _____, ...options } = given
  const drifts: number[] = []
  const asked = {
    ...options,
    ...textOptions(given),
    ...more,
    controls: controls?.map((one, i) => ({ ...one, image: pictureOf(golden[`control.${i}`]) })),
    onStep: ({ step, latents }: DenoiseStep) => {
      drifts.push(relativeDifference(latents, golden[`latents.${step - 1}`]))
    },
  }
  const { images } = await drawCase(model, asked, given, golden)
  expect(drifts).toHaveLength(Object.keys(golden).filter((key) => /^latents\.\d+$/.test(key)).length)
  expect(Math.max(...drifts)).toBeLessThan(1e-3)

  const [count, height, width] = golden.images.shape
  expect(images).toHaveLength(count)
  for (const { pixels } of images) expect(pixels).toMatchObject({ width, height, channels: 3 })
  expectNear(images, golden.images)
}
