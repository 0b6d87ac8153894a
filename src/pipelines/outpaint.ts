import { UsageError } from "../ground/errors.ts"
import type { Sides } from "../ground/extend.ts"
import { extendImage } from "../ground/extend.ts"
import type { Pixels } from "../ground/image.ts"
import { pixels } from "../ground/image.ts"
import { resizeImage } from "../ground/resize.ts"
import type { DrawOptions, DrawResult } from "./draw.ts"
import { opaque, image as pictureOf } from "./image.ts"
import { inpaint, seesMasks } from "./inpaint.ts"
import type { Model } from "./model.ts"
import { blackened } from "./safety-checker.ts"
import { pictureText, sideUnit } from "./settings.ts"

/** What to draw around a picture, and how far. */
export interface OutpaintOptions extends Omit<DrawOptions, "width" | "height"> {
  /** The picture that stays, as large as it is; transparent parts become white. */
  readonly image: Pixels
  /** How many pixels to draw on each side, any number; none on those that are not named. */
  readonly extend: Partial<Sides>
  /**
   * Over how many of its pixels the picture fades into what is drawn beside it, of which the outer half is drawn anew;
   * default: a sixteenth of the side that the model was trained on, and no less than two latents.
   */
  readonly overlap?: number
  /**
   * How far to leave what the new parts begin as, the picture's edges drawn out, 0 to 1; default 0.9, and 1, at which it is
   * not looked at, for a model that is made for masks.
   */
  readonly strength?: number
}

/**
 * Draws a text around a picture, by `inpaint` into a larger one. The results have just the size asked for (what a model
 * needs beyond that, to a multiple of 8, is drawn and cut off), and the picture keeps all of its pixels but those within
 * `overlap` of a side that was drawn on. Controls and masks of other pictures are for the whole.
 * Throws a UsageError for options that cannot be, a LimnError where the model fails, and the signal's reason.
 */
export async function outpaint(model: Model, options: OutpaintOptions): Promise<DrawResult> {
  const { image, extend: _, overlap: __, strength = seesMasks(model) ? 1 : 0.9, ...shared } = options
  const frame = frameOf(model, options)
  const { width, height } = frame
  const unit = sideUnit(model)
  const drawnSize = { width: Math.ceil(width / unit) * unit, height: Math.ceil(height / unit) * unit }
  const beyond = { left: 0, top: 0, right: drawnSize.width - width, bottom: drawnSize.height - height }
  const whole = extendImage(extendImage(opaque(image), frame.sides), beyond)
  const controls = shared.controls?.map((control) => ({
    ...control,
    image: extendImage(resizeImage(opaque(control.image), width, height), beyond),
  }))
  const mask = maskOf(frame, drawnSize, model.latentPixels)
  const drawn = await inpaint(model, { ...shared, ...drawnSize, controls, image: whole, mask, strength })
  const settings = { ...drawn.settings, width, height, extend: frame.sides, overlap: frame.overlap }
  const images = drawn.images.map(({ pixels: one }, i) => {
    const blended = drawn.withheld[i] ? blackened({ width, height, channels: 3 }) : faded(frame, whole, one)
    return pictureOf(blended, pictureText(settings, i))
  })
  return { ...drawn, image: images[0], images, settings }
}

/** A picture and what is drawn around it. */
interface Frame {
  readonly picture: Pixels
  readonly sides: Sides
  readonly overlap: number
  /** Of both together. */
  readonly width: number
  readonly height: number
}

function frameOf(model: Model, { image, extend, overlap }: OutpaintOptions): Frame {
  const { left = 0, top = 0, right = 0, bottom = 0 } = extend
  const sides = { left, top, right, bottom }
  for (const [name, value] of Object.entries({ ...sides, overlap: overlap ?? 0 }))
    if (!Number.isInteger(value) || value < 0)
      throw new UsageError(`${name} is ${value}; give a whole number of pixels from 0 on.`)
  if (left + top + right + bottom === 0)
    throw new UsageError("There is nothing to draw around the picture; extend it on at least one side.")
  return {
    picture: image,
    sides,
    overlap: overlap ?? Math.max(2 * model.latentPixels, Math.round(Math.min(...model.size) / 16)),
    ...extendedSize(image, extend),
  }
}

/** The size of a picture with what is drawn around it. */
export function extendedSize(
  { width, height }: Pick<Pixels, "width" | "height">,
  { left = 0, top = 0, right = 0, bottom = 0 }: Partial<Sides>,
): { width: number; height: number } {
  return { width: left + width + right, height: top + height + bottom }
}

/** How deep in the picture a square of the whole lies, from the sides that are drawn on; below 0 where it hangs out. */
function depth({ picture, sides }: Frame, x: number, y: number, side = 1): number {
  const { left, top, right, bottom } = sides
  return Math.min(
    left > 0 ? x - left : Number.POSITIVE_INFINITY,
    top > 0 ? y - top : Number.POSITIVE_INFINITY,
    right > 0 ? left + picture.width - x - side : Number.POSITIVE_INFINITY,
    bottom > 0 ? top + picture.height - y - side : Number.POSITIVE_INFINITY,
  )
}

/** White where to draw: in every latent that has to do with what is new, or with the outer half of the overlap. */
function maskOf(frame: Frame, { width, height }: Pick<Pixels, "width" | "height">, latent: number): Pixels {
  const mask = blackened({ width, height, channels: 3 })
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++)
      if (depth(frame, x - (x % latent), y - (y % latent), latent) < frame.overlap / 2)
        mask.data.fill(255, 3 * (y * width + x), 3 * (y * width + x + 1))
  return mask
}

/** What was drawn, faded into the picture that it was drawn around; without what was drawn to be cut off. */
function faded(frame: Frame, whole: Pixels, drawn: Pixels): Pixels {
  const { width, height, overlap } = frame
  const data = new Uint8Array(3 * width * height)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const share = Math.min(1, Math.max(0, (overlap - depth(frame, x, y)) / (overlap + 1)))
      for (let c = 0; c < 3; c++) {
        const from = 3 * (y * whole.width + x) + c
        const mixed = (1 - share) * whole.data[from] + share * drawn.data[from]
        data[3 * (y * width + x) + c] = Math.round(mixed)
      }
    }
  return pixels(width, height, 3, data)
}
