import { expect } from "vitest"
import { type Pixels, pixels } from "../../src/ground/image.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import type { DenoiseStep } from "../../src/pipelines/denoise.ts"
import type { DrawOptions } from "../../src/pipelines/draw.ts"
import { imageToImage } from "../../src/pipelines/image-to-image.ts"
import { inpaint } from "../../src/pipelines/inpaint.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { relativeDifference } from "../unit/golden.ts"

/** What a golden's cases.json says of one drawing. */
export interface Case {
  name: string
  /** Text to image where nothing else is said. */
  verb?: "text-to-image" | "image-to-image" | "inpaint"
  model?: string
  strength?: number
  prompt: string
  /** null where the reference was given none. */
  negativePrompt: string | null
  seed: number | number[]
  variationOf?: number
  variationStrength?: number
  height: number
  width: number
  steps: number
  guidanceScale: number
  eta?: number
  clipSkip?: number
  imagesPerPrompt: number
  /** For inpainting. */
  softMask?: boolean
  /** Folders of the ControlNets that the model has. */
  controlNets?: string[]
  controls?: { scale: number; start: number; end: number }[]
  guessMode?: boolean
  scheduler: { class: string; config: Record<string, unknown> }
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

/** Latents after every step within 1e-3 of the largest, and 99.9% of 8-bit values within 1. */
export async function expectSamePictures(
  model: Model,
  given: Case,
  golden: Record<string, Tensor>,
  more: Partial<DrawOptions> = {},
): Promise<void> {
  const {
    scheduler,
    negativePrompt,
    controls,
    name: _,
    verb: __,
    model: ___,
    strength: ____,
    softMask: _____,
    ...options
  } = given
  const drifts: number[] = []
  const asked = {
    ...options,
    ...more,
    negativePrompt: negativePrompt ?? undefined,
    controls: controls?.map((one, i) => ({ ...one, image: pictureOf(golden[`control.${i}`]) })),
    scheduler: { ...scheduler.config, _class_name: scheduler.class },
    onStep: ({ step, latents }: DenoiseStep) => {
      drifts.push(relativeDifference(latents, golden[`latents.${step - 1}`]))
    },
  }
  const { images } = await drawCase(model, asked, given, golden)
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
}
