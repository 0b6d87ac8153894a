import type { Pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import type { DrawOptions, DrawResult } from "./draw.ts"
import { draw } from "./draw.ts"
import { definedSize, encodedPicture, partWay, sizeOver } from "./given-picture.ts"
import { pixelTensor } from "./image.ts"
import { maskTensor } from "./masks.ts"
import type { Model } from "./model.ts"
import { joinRows, scaled, withChannels } from "./rows.ts"
import { latentShape, pictureCount } from "./settings.ts"

/** What to draw, into which picture, and where. */
export interface InpaintOptions extends DrawOptions {
  /** The picture to fill in; sizes and transparency as for `imageToImage`. */
  readonly image: Pixels
  /** White where to draw, black where the picture stays; of another size it is resized. */
  readonly mask: Pixels
  /** Whether grey parts of the mask are drawn in part; by default they count as white or black, whichever is nearer. */
  readonly softMask?: boolean
  /** How far to leave the picture where the mask is white, 0 to 1; default 1: it is not looked at there; for Kolors 0.9999. */
  readonly strength?: number
}

/**
 * Draws a text into the white parts of a mask, as diffusers' `StableDiffusionInpaintPipeline`, its SDXL sister
 * and that of Kolors' repository do. A
 * model made for it (a U-Net of 9 channels) is shown the mask and the rest of the picture at every step; any other is
 * brought back to the rest after every step.
 * Throws a UsageError for options that cannot be, a LimnError where the model fails, and the signal's reason.
 */
export async function inpaint(model: Model, options: InpaintOptions): Promise<DrawResult> {
  const { inpaintStrength, inpaintGuidance } = model.usage
  const { image, mask: drawn, softMask = false, strength = inpaintStrength } = options
  const { guidanceScale = inpaintGuidance } = options
  const seesMask = seesMasks(model)
  const given = { ...sizeOver(model, image), ...definedSize(options), strength, guidanceScale }
  return draw(model, { ...options, ...given }, async (prepared) => {
    const { settings, scheduler, random } = prepared
    const { width, height } = settings
    const { firstStep, noised } = partWay(prepared, strength)
    const whole = pixelTensor(image, width, height)
    const mask = maskTensor(drawn, width, height, softMask)

    // The order of the draws is diffusers': the picture, the noise, the picture without its masked parts.
    const original =
      strength < 1 || !seesMask ? await encodedPicture(model, whole, settings, random) : undefined
    const noise = random.randn(latentShape(model, settings))
    const latents = strength < 1 ? noised(original!, noise) : scaled(noise, scheduler.initNoiseSigma)
    const rest = await encodedPicture(model, withoutMasked(whole, mask), settings, random)
    const latentMask = shrunk(mask, model.latentPixels, pictureCount(settings))
    if (seesMask) return { latents, firstStep, extraChannels: withChannels(latentMask, rest) }
    return { latents, firstStep, held: { original: original!, noise, mask: latentMask } }
  })
}

/** Whether a model was made to fill in pictures: its denoiser sees the mask beside the latents. */
export function seesMasks({ unetConfig, vaeConfig }: Model): boolean {
  return unetConfig.inChannels !== vaeConfig.latentChannels
}

/** The picture with grey where it will be drawn anew. */
function withoutMasked(image: Tensor<"float32">, mask: Tensor<"float32">): Tensor<"float32"> {
  const size = mask.data.length
  return float32(
    image.shape,
    image.data.map((v, i) => (mask.data[i % size] < 0.5 ? v : 0)),
  )
}

/** The mask at the size of latents, by the nearest pixel, a row for each picture: [rows, 1, h, w]. */
function shrunk({ shape, data }: Tensor<"float32">, factor: number, rows: number): Tensor<"float32"> {
  const [, , height, width] = shape
  const [h, w] = [height / factor, width / factor]
  const values = Float32Array.from(
    { length: h * w },
    (_, i) => data[Math.floor(i / w) * factor * width + (i % w) * factor],
  )
  return joinRows(new Array<Tensor<"float32">>(rows).fill(float32([1, 1, h, w], values)))
}
