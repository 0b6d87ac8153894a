import { UsageError } from "../ground/errors.ts"
import type { Control } from "../pipelines/controls.ts"
import { definedSize, sizeOver } from "../pipelines/given-picture.ts"
import type { Model } from "../pipelines/model.ts"
import { extendedSize } from "../pipelines/outpaint.ts"
import type { VerbOptions } from "../recipes/verb.ts"
import type { AnnotatorOptions } from "./followed.ts"
import { readFollowed } from "./followed.ts"

/** What the command line says of ControlNets; numbers are one for all of them, or one for each. */
export interface ControlOptions extends AnnotatorOptions {
  /** Folders, files or names on the Hub. */
  readonly control?: readonly string[]
  /** What each follows, as `readFollowed` takes it. */
  readonly controlImage?: readonly string[]
  readonly controlScale?: readonly number[]
  readonly controlStart?: readonly number[]
  readonly controlEnd?: readonly number[]
}

/** What a model's ControlNets are to follow, once it is known at which size it draws. */
export type ControlsFor = (model: Model) => readonly Control[]

/**
 * Reads the pictures that ControlNets follow; the size of the picture to draw over or around, where there is one, goes
 * before theirs.
 */
export async function readControls(
  options: ControlOptions & { readonly width?: number; readonly height?: number },
  { image: over, extend }: Pick<VerbOptions, "image" | "extend">,
): Promise<ControlsFor> {
  const { control = [], controlImage = [] } = options
  if (control.length !== controlImage.length)
    throw new UsageError(
      `Each --control needs a --control-image of its own; they number ${control.length} and ${controlImage.length}.`,
    )
  const scales = spread("scale", options.controlScale, control)
  const starts = spread("start", options.controlStart, control)
  const ends = spread("end", options.controlEnd, control)
  const followed = await readFollowed(controlImage, options)
  return (model) => {
    if (followed.length === 0) return []
    const size =
      over !== undefined && extend !== undefined
        ? extendedSize(over, extend)
        : { ...sizeOver(model, over ?? followed[0].picture), ...definedSize(options) }
    return followed.map(({ map }, i) => ({
      image: map(size, model.usage),
      scale: scales[i],
      start: starts[i],
      end: ends[i],
    }))
  }
}

function spread(
  name: string,
  given: readonly number[] | undefined,
  { length }: readonly string[],
): readonly (number | undefined)[] {
  if (given === undefined) return []
  if (given.length === 1 && length > 0) return new Array<number>(length).fill(given[0])
  if (given.length !== length)
    throw new UsageError(
      `--control-${name} goes once for all of --control, or once for each; they number ${given.length} and ${length}.`,
    )
  return given
}
