import { cannyEdges } from "../ground/canny.ts"
import { UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { resizeImage } from "../ground/resize.ts"
import type { Tensor } from "../ground/tensor.ts"
import { opaque, unitTensor } from "./image.ts"
import { isInterval } from "./interval.ts"
import type { Model } from "./model.ts"

/** What one ControlNet of a model is to follow, and how. */
export interface Control {
  /** What it was trained to read, such as edges; one of another size is resized, transparent parts become white. */
  readonly image: Pixels
  /** How much of it; default 1, for Kolors 0.8. */
  readonly scale?: number
  /** From which share of the steps on, 0 (the default) to 1. */
  readonly start?: number
  /** Up to which share of the steps, 0 to 1 (the default). */
  readonly end?: number
}

/** What one ControlNet of a model follows through a walk. */
export interface WalkControl extends Required<Omit<Control, "image">> {
  /** [1, 3, height, width] in [0, 1]. */
  readonly picture: Tensor<"float32">
}

/** Controls with their defaults, checked: one for each ControlNet of the model. Throws a UsageError where they are not. */
export function resolveControls(
  { controlNets, name, usage }: Pick<Model, "controlNets" | "name" | "usage">,
  controls: readonly Control[],
): readonly Required<Control>[] {
  if (controls.length !== controlNets.length)
    throw new UsageError(
      `Each ControlNet of ${name} needs a control, in order; they number ${controlNets.length} and ${controls.length}.`,
    )
  return controls.map(({ image, scale = usage.controlScale, start = 0, end = 1 }) => {
    if (!Number.isFinite(scale))
      throw new UsageError(`The scale of a control is ${scale}; give a number, such as 0.8.`)
    if (!isInterval([start, end]))
      throw new UsageError(
        `A control goes from ${start} to ${end}; give shares of the steps, 0 to 1, the start before the end.`,
      )
    return { image, scale, start, end }
  })
}

/**
 * A picture's edges for a result of such a size. They are looked for at that size: in a large photograph they would be too
 * thin to be seen by then.
 */
export function edgesFor(
  picture: Pixels,
  { width, height }: { readonly width: number; readonly height: number },
): Pixels {
  return cannyEdges(resizeImage(opaque(picture), width, height))
}

/** A control for a walk that draws pictures of such a size. */
export function walkControl(
  { image, ...how }: Required<Control>,
  { width, height }: { readonly width: number; readonly height: number },
): WalkControl {
  return { ...how, picture: unitTensor(image, width, height) }
}

/** A ControlNet's residuals under the names that it gives them, and the denoiser takes them by. */
export function namedResiduals<T>(residuals: readonly T[]): Record<string, T> {
  return Object.fromEntries(residuals.map((one, i) => [`${RESIDUAL}${i}`, one]))
}

/** The residuals among a denoiser's inputs, in order; undefined where there are none. */
export function residualsAmong<T>(inputs: Readonly<Record<string, T>>): readonly T[] | undefined {
  const count = Object.keys(inputs).filter((name) => name.startsWith(RESIDUAL)).length
  return count === 0 ? undefined : Array.from({ length: count }, (_, i) => inputs[`${RESIDUAL}${i}`])
}

/** What ControlNets add to the denoiser, by the names of its inputs. */
export type Residuals = Readonly<Record<string, Tensor<"float32">>>

/** Those of the two outermost skips. */
export function outermost(residuals: Residuals): Residuals {
  return Object.fromEntries([0, 1].map((i) => [`${RESIDUAL}${i}`, residuals[`${RESIDUAL}${i}`]]))
}

/** Residuals with each changed alike. */
export function mapResiduals(
  residuals: Residuals,
  change: (residual: Tensor<"float32">, name: string) => Tensor<"float32">,
): Residuals {
  return Object.fromEntries(Object.entries(residuals).map(([name, one]) => [name, change(one, name)]))
}

const RESIDUAL = "residual."
