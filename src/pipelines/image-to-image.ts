import type { Pixels } from "../ground/image.ts"
import type { DrawOptions, DrawResult } from "./draw.ts"
import { draw } from "./draw.ts"
import { definedSize, encodedPicture, partWay, sizeOver } from "./given-picture.ts"
import { pixelTensor } from "./image.ts"
import type { Model } from "./model.ts"
import { scaled } from "./rows.ts"
import { latentShape } from "./settings.ts"
import { checkDrawsFromText } from "./text-to-image.ts"

/** What to draw, and over which picture. */
export interface ImageToImageOptions extends DrawOptions {
  /**
   * The picture to start from; one of another size is resized, transparent parts become white. Where no size is asked
   * for, the result has that of the picture, made as small as the model's own where it is larger.
   */
  readonly image: Pixels
  /** How far to leave it, 0 to 1: the share of the steps that are walked; default 0.8, for Kolors without ControlNets 0.3. */
  readonly strength?: number
}

/**
 * Draws a text over a picture (SDEdit, Meng 2022), as diffusers' `StableDiffusionImg2ImgPipeline` and its SDXL sister
 * do: the picture's latents get the noise of the first step that is walked.
 * Throws a UsageError for options that cannot be, a LimnError where the model fails, and the signal's reason.
 */
export async function imageToImage(model: Model, options: ImageToImageOptions): Promise<DrawResult> {
  checkDrawsFromText(model)
  const { usage, controlNets } = model
  const controlled = controlNets.length > 0
  const { image, strength = controlled ? usage.controlledStrength : usage.strength } = options
  const given = { ...sizeOver(model, image), ...definedSize(options), strength }
  return draw(model, { ...options, ...given }, async (prepared) => {
    const { settings, scheduler, random } = prepared
    if (controlled && usage.controlledFromNoise && strength === 1)
      return { latents: scaled(random.randn(latentShape(model, settings)), scheduler.initNoiseSigma) }
    const { firstStep, noised } = partWay(prepared, strength)
    const picture = pixelTensor(image, settings.width, settings.height)
    const original = await encodedPicture(model, picture, settings, random)
    return { latents: noised(original, random.randn(latentShape(model, settings))), firstStep }
  })
}
