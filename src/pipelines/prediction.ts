import { UsageError } from "../ground/errors.ts"
import { formatShape, sameShape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import type { Residuals } from "./controls.ts"
import { mapResiduals } from "./controls.ts"
import { guide } from "./guidance.ts"
import type { Interval } from "./interval.ts"
import { isWithin } from "./interval.ts"
import type { Conditioning } from "./model.ts"
import type { OpenNetwork } from "./network.ts"
import { joinRows, rowsOf } from "./rows.ts"

/** What decides how a walk is led. */
export interface GuidedWalk {
  /** A row for each of the B latents. */
  readonly conditioning: Conditioning
  /** What to be led away from, a row for each; the model runs twice as wide with it, and not at all guided without. */
  readonly negative?: Conditioning
  /** How strongly to be led (default 1: not at all). */
  readonly guidanceScale?: number
  /** How far to draw the deviation back that guidance widens, 0 (the default) to 1. */
  readonly guidanceRescale?: number
  /**
   * Led only from this share of the steps on up to that one, 0 to 1; the other steps take half the time (Kynkäänniemi et
   * al. 2024). Without it, at every step.
   */
  readonly guidanceInterval?: Interval
  /**
   * The denoiser runs whole at every so many of its runs only, and between them its outermost layers alone, around what the
   * inner ones last made (Ma et al. 2024: DeepCache). Default 1: it always runs whole.
   */
  readonly cacheInterval?: number
}

/** A denoiser's graphs: the whole, and where its inner layers are not always run the outermost alone. */
export interface DenoiserGraphs {
  readonly whole: OpenNetwork
  readonly shallow?: OpenNetwork
}

/** Whether a walk is led away from anything. */
export function isGuided({ negative, guidanceScale = 1 }: GuidedWalk): boolean {
  return negative !== undefined && guidanceScale > 1
}

/** The conditioning of all that a walk is told, the negative's rows first. */
export function contextOf(walk: GuidedWalk): Conditioning {
  const { negative, conditioning } = walk
  if (negative === undefined || !isGuided(walk)) return conditioning
  return Object.fromEntries(
    Object.entries(conditioning).map(([name, t]) => {
      const away = negative[name]
      if (!sameShape(away.shape, t.shape))
        throw new UsageError(
          `${name} is ${formatShape(t.shape)} for the prompts and ${formatShape(away.shape)} for the negative ones; encode both with as many chunks.`,
        )
      return [name, joinRows([away, t])]
    }),
  )
}

/**
 * The conditioning that the denoiser's graph runs on: with guidance both halves at once; but where it is only for some steps
 * one, so that the same graph serves the steps without.
 */
export function contextOfRun(walk: GuidedWalk): Conditioning {
  return isGuided(walk) && walk.guidanceInterval !== undefined ? walk.conditioning : contextOf(walk)
}

/** What a denoiser that is open says of latents at one step. */
export type Predict = (
  /** [B, C, h, w], scaled, and with what the model sees beside them. */
  seen: Tensor<"float32">,
  timestep: number,
  /** A row for each of the rows of `contextOf`. */
  residuals: Residuals | undefined,
  index: number,
  steps: number,
) => Promise<Tensor<"float32">>

/** Runs a denoiser opened for `contextOfRun` at each step of a walk, and leads it. */
export function predictor({ whole, shallow }: DenoiserGraphs, walk: GuidedWalk): Predict {
  const { conditioning, negative, guidanceScale = 1, guidanceRescale, guidanceInterval } = walk
  const { cacheInterval = 1 } = walk
  const guided = isGuided(walk)
  const context = contextOf(walk)
  /** What the inner layers last made, for each conditioning. */
  const made = new Map<Conditioning, Tensor>()
  const run = async (
    sample: Tensor<"float32">,
    timestep: number,
    told: Conditioning,
    residuals: Residuals | undefined,
    index: number,
  ) => {
    const levels = new Float32Array(sample.shape[0]).fill(timestep)
    const feeds = { sample, timestep: float32([levels.length], levels), ...told, ...residuals }
    const deep = made.get(told)
    if (shallow !== undefined && deep !== undefined && index % cacheInterval > 0) {
      const read = Object.entries({ ...feeds, deep }).filter(([name]) => shallow.reads.has(name))
      return (await shallow.run(Object.fromEntries(read))).output as Tensor<"float32">
    }
    const outputs = await whole.run(feeds, shallow === undefined ? ["output"] : ["output", "deep"])
    if (shallow !== undefined) made.set(told, outputs.deep)
    return outputs.output as Tensor<"float32">
  }
  return async (seen, timestep, residuals, index, steps) => {
    if (!guided) return run(seen, timestep, context, residuals, index)
    if (guidanceInterval === undefined) {
      const both = await run(joinRows([seen, seen]), timestep, context, residuals, index)
      return guide(both, guidanceScale, guidanceRescale)
    }
    const batch = seen.shape[0]
    const half = (first: number) =>
      residuals && mapResiduals(residuals, (rows) => rowsOf(rows, first, first + batch))
    const towards = await run(seen, timestep, conditioning, half(batch), index)
    if (!isWithin(guidanceInterval, index, steps)) return towards
    const away = await run(seen, timestep, negative!, half(0), index)
    return guide(joinRows([away, towards]), guidanceScale, guidanceRescale)
  }
}
