import { UsageError } from "../ground/errors.ts"
import { formatShape, sameShape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { DrawOptions, DrawResult } from "./draw.ts"
import { draw } from "./draw.ts"
import { definedSize, sizeOver } from "./given-picture.ts"
import type { Model } from "./model.ts"
import { scaled } from "./rows.ts"
import { latentShape } from "./settings.ts"

/** What to draw. */
export interface TextToImageOptions extends DrawOptions {
  /** N(0, 1) to start from in place of the seed's: [pictures, C, height / 8, width / 8]. */
  readonly latents?: Tensor<"float32">
}

/**
 * Draws texts, as diffusers' `StableDiffusionPipeline` and `StableDiffusionXLPipeline` do, and with controls their
 * sisters with ControlNets: the same seed gives the same picture. Where controls are given and no size is asked for, the
 * result has that of the first control's picture, made as small as the model's own where it is larger.
 * Throws a UsageError for options that cannot be, a LimnError where the model fails, and the signal's reason.
 */
export async function textToImage(model: Model, options: TextToImageOptions): Promise<DrawResult> {
  checkDrawsFromText(model)
  const { controls = [] } = options
  const size = controls.length > 0 ? { ...sizeOver(model, controls[0].image), ...definedSize(options) } : {}
  return draw(model, { ...options, ...size }, ({ settings, scheduler, random }) => {
    const shape = latentShape(model, settings)
    if (options.latents !== undefined && settings.variationOf !== undefined)
      throw new UsageError("latents are given in place of a seed's noise; leave them or variationOf away.")
    const noise = options.latents ?? random.randn(shape)
    checkLatents(noise, shape)
    return { latents: scaled(noise, scheduler.initNoiseSigma) }
  })
}

/** Throws a UsageError for a model whose denoiser also needs a picture and a mask. */
export function checkDrawsFromText(model: Model): void {
  const { inChannels } = model.unetConfig
  const { latentChannels } = model.vaeConfig
  if (inChannels !== latentChannels)
    throw new UsageError(
      `The unet of ${model.path} takes ${inChannels} channels, ${latentChannels} of them latents: it draws into pictures, so give it one and a mask (inpaint, or --image and --mask).`,
    )
}

function checkLatents(latents: Tensor<"float32">, expected: readonly number[]): void {
  if (!sameShape(latents.shape, expected))
    throw new UsageError(
      `latents are ${formatShape(latents.shape)}; these pictures need ${formatShape(expected)}.`,
    )
}
