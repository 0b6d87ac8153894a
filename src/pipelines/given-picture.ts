import type { Pixels } from "../ground/image.ts"
import type { RandomSource } from "../ground/random/source.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import { encodePixels } from "./autoencoder.ts"
import type { Prepared } from "./draw.ts"
import type { Model } from "./model.ts"
import { joinRows, rowsOf } from "./rows.ts"
import type { PictureOptions, Settings } from "./settings.ts"
import { pictureCount, sideUnit, stepsWalked } from "./settings.ts"

/**
 * The size in pixels at which a model draws over a picture: the picture's own, made as small as what the model was
 * trained on where it is larger, each side rounded down to what the model can draw.
 */
export function sizeOver(model: Model, { width, height }: Pixels): { width: number; height: number } {
  const [trainedHeight, trainedWidth] = model.size
  const shrink = Math.min(1, Math.sqrt((trainedWidth * trainedHeight) / (width * height)))
  const unit = sideUnit(model)
  const side = (pixels: number) => Math.max(unit, Math.floor((pixels * shrink) / unit) * unit)
  return { width: side(width), height: side(height) }
}

/** The sides that were asked for, which go before others. */
export function definedSize({ width, height }: Pick<PictureOptions, "width" | "height">) {
  return { ...(width !== undefined && { width }), ...(height !== undefined && { height }) }
}

/**
 * The latents of a picture [1, 3, H, W], one row for each picture that is drawn: a draw from the distribution that the
 * encoder gives, scaled. One seed draws once for all of them, a list of seeds draws for each, as diffusers does.
 */
export async function encodedPicture(
  model: Model,
  image: Tensor<"float32">,
  settings: Settings,
  random: RandomSource,
): Promise<Tensor<"float32">> {
  const moments = await encodePixels(model, image, settings)
  const count = pictureCount(settings)
  const [, channels, ...places] = moments.shape
  const drawn = typeof settings.seed === "object" ? count : 1
  const noise = random.randn([drawn, channels / 2, ...places])
  const rows = Array.from({ length: drawn }, (_, n) =>
    sampled(moments, rowsOf(noise, n, n + 1), model.vaeConfig.scalingFactor),
  )
  return joinRows(drawn === count ? rows : new Array<Tensor<"float32">>(count).fill(rows[0]))
}

/** Where a walk over a picture begins. */
export interface PartWay {
  /** Steps that such a strength leaves out. */
  readonly firstStep: number
  /** Clean latents with noise at the level of the first step that is walked. */
  noised(original: Tensor<"float32">, noise: Tensor<"float32">): Tensor<"float32">
}

/** Takes a scheduler to the step where a walk of such a strength begins. */
export function partWay({ settings, scheduler }: Prepared, strength: number): PartWay {
  const { steps } = settings
  const firstStep = steps - stepsWalked(steps, strength)
  const index = firstStep * scheduler.order
  scheduler.setBeginIndex(index)
  return {
    firstStep,
    noised: (original, noise) =>
      scheduler.addNoise(original, noise, new Array<number>(noise.shape[0]).fill(scheduler.timesteps[index])),
  }
}

/** mean + deviation x noise, times a factor; moments [1, 2 L, h, w] hold means before logarithms of variances. */
function sampled(moments: Tensor<"float32">, noise: Tensor<"float32">, factor: number): Tensor<"float32"> {
  const size = noise.data.length
  const data = noise.data.map((z, i) => {
    const logVariance = Math.min(20, Math.max(-30, moments.data[size + i]))
    return (moments.data[i] + Math.exp(0.5 * logVariance) * z) * factor
  })
  return float32(noise.shape, data)
}
