import { div, matmul, mul, reduceSum, shift, sqrt, sub } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import { clipVision } from "./clip-vision.ts"
import type { ClipVisionConfig } from "./config/clip-vision.ts"

/** How far a picture's likeness to each thing that is looked for lies above that thing's threshold. */
export interface SafetyMargins {
  /** To those that make the rest stricter [B, 3]. */
  readonly specialCare: Value
  /** To those for which a picture is withheld [B, 17]. */
  readonly concepts: Value
}

/**
 * What the safety checker of Stable Diffusion 1.x sees in pictures: cosines between CLIP's embedding of them and fixed
 * embeddings, less a threshold of each.   pixels [B, 3, S, S], normalised as the checkpoint's preprocessor says.
 * Weight names: diffusers `StableDiffusionSafetyChecker`, by `renameSafetyCheckerKey`.
 */
export function safetyMargins(pixels: Value, weights: Weights, config: ClipVisionConfig): SafetyMargins {
  const picture = unit(clipVision(pixels, weights, config).imageEmbeds)
  const above = (name: string) => {
    const cosines = matmul(picture, unit(weights.get(name)), { transB: true })
    return sub(cosines, weights.get(`${name}_weights`))
  }
  return { specialCare: above("special_care_embeds"), concepts: above("concept_embeds") }
}

/** Rows of length 1. */
function unit(x: Value): Value {
  const length = sqrt(reduceSum(mul(x, x), [1], { keepDims: true }))
  return div(x, shift(length, 1e-12))
}

/**
 * Whether a picture is to be withheld, by its margins as numbers (diffusers `StableDiffusionSafetyChecker.forward`):
 * a single concept suffices, and the first thing that wants special care lowers all later thresholds by 0.01. Margins
 * are rounded to three digits, so that the last ones of an arithmetic decide nothing.
 */
export function isUnsafe(specialCare: ArrayLike<number>, concepts: ArrayLike<number>): boolean {
  let lowered = 0
  for (const margin of Array.from(specialCare)) if (isAbove(margin, lowered)) lowered = 0.01
  return Array.from(concepts).some((margin) => isAbove(margin, lowered))
}

/** In float32, as numpy adds and rounds: to the nearest thousandth, so that half of one is none. */
function isAbove(margin: number, lowered: number): boolean {
  return Math.fround(Math.fround(margin + Math.fround(lowered)) * 1000) > 0.5
}

/** Today's name of a tensor: files from before transformers 5 keep the vision model inside a `vision_model` of its own. */
export function renameSafetyCheckerKey(name: string): string {
  return name.replace(/^vision_model\.(?=vision_model\.)/, "")
}
