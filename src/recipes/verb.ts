import { UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import type { DrawOptions, DrawResult } from "../pipelines/draw.ts"
import type { UpscaleOptions } from "../pipelines/hires-fix.ts"
import { hiresFix } from "../pipelines/hires-fix.ts"
import { imageToImage } from "../pipelines/image-to-image.ts"
import { inpaint } from "../pipelines/inpaint.ts"
import type { Model } from "../pipelines/model.ts"
import type { OutpaintOptions } from "../pipelines/outpaint.ts"
import { outpaint } from "../pipelines/outpaint.ts"
import { textToImage } from "../pipelines/text-to-image.ts"

/** What says, beside a prompt, by which verb pictures are drawn; `textToImage` where none of it is given. */
export interface VerbOptions extends UpscaleOptions {
  /** A picture to draw over, as for `imageToImage`. */
  readonly image?: Pixels
  /** Where to draw into that picture, as for `inpaint`. */
  readonly mask?: Pixels
  /** How far to draw around that picture, as for `outpaint`; both say how large the result is. */
  readonly extend?: OutpaintOptions["extend"]
  readonly overlap?: number
  /** How far to leave that picture. */
  readonly strength?: number
}

/** Draws by the verb that the options ask for, which `checkVerb` has seen. */
export function drawByVerb(model: Model, options: DrawOptions & VerbOptions): Promise<DrawResult> {
  const { image, mask, extend, ...rest } = options
  if (image === undefined)
    return rest.upscale === undefined ? textToImage(model, rest) : hiresFix(model, rest)
  if (extend !== undefined) return outpaint(model, { ...rest, image, extend })
  return mask === undefined
    ? imageToImage(model, { ...rest, image })
    : inpaint(model, { ...rest, image, mask })
}

/** An option that `checkVerb` looks at. */
type VerbOption = Exclude<keyof VerbOptions, "overlap"> | "width" | "height"

/**
 * Throws a UsageError, in which options are called as `named` says, for one that means nothing beside the others. Only
 * which are there counts, so that pictures need not be read yet.
 */
export function checkVerb(
  options: Readonly<Partial<Record<VerbOption, unknown>>>,
  named: (option: VerbOption) => string = (option) => option,
): void {
  const refuse = (names: readonly VerbOption[], why: string) => {
    const name = names.find((one) => options[one] !== undefined)
    if (name !== undefined) throw new UsageError(`${named(name)} ${why}.`)
  }
  const image = named("image")
  if (options.image === undefined)
    refuse(["mask", "extend", "strength"], `says how to draw over a picture; give that with ${image}`)
  else refuse(["upscale"], `enlarges what is drawn from the text alone; leave ${image} away`)
  if (options.extend !== undefined) {
    refuse(["mask"], `and ${named("extend")} both say where to draw; leave one away`)
    refuse(["width", "height"], `follows from ${image} and ${named("extend")}; leave it away`)
  }
  if (options.upscale === undefined)
    refuse(["upscaleStrength", "upscaleSteps"], `says how to enlarge pictures; give ${named("upscale")} too`)
}
