import { UsageError } from "../ground/errors.ts"
import { count, noiseScheduleKeys, oneOf, positive, rescaleBetasZeroSnr, walkKeys } from "./config.ts"
import type { AskedWalk } from "./custom-walk.ts"

/** The keys of models distilled to take few steps, LCM and TCD. (Their steps ignore offsets and spacings.) */
export const distilledKeys = {
  ...noiseScheduleKeys,
  prediction_type: walkKeys.prediction_type,
  beta_start: positive.default(0.00085),
  beta_end: positive.default(0.012),
  beta_schedule: oneOf("linear", "scaled_linear", "squaredcos_cap_v2").default("scaled_linear"),
  rescale_betas_zero_snr: rescaleBetasZeroSnr,
  /** On how many steps of training, evenly spread, the model was distilled. */
  original_inference_steps: count.default(50),
}

interface Distilled {
  readonly num_train_timesteps: number
  readonly original_inference_steps: number
}

/**
 * Whole timesteps, highest first, evenly taken out of those on which the model was distilled: k - 1, 2 k - 1, ... for
 * k = floor(N / original), LCM's "skipping step" (Luo 2023), or k = 1. Those given instead are taken as they are.
 * Throws a UsageError for more steps than the model was distilled on.
 */
export function distilledTimesteps(config: Distilled, walk: AskedWalk, everywhere = false): Float64Array {
  const { steps, timesteps, originalInferenceSteps: original = config.original_inference_steps } = walk
  if (timesteps) return Float64Array.from(timesteps, Math.trunc)
  const { num_train_timesteps: trained } = config
  if (original > trained)
    throw new UsageError(
      `${original} original inference steps are more than the ${trained} of training; set originalInferenceSteps.`,
    )
  if (steps > original)
    throw new UsageError(
      `${steps} steps are not possible for ${original} original inference steps; choose at most ${original}.`,
    )
  const pool = everywhere ? trained : original
  const k = Math.floor(trained / pool)
  const stride = pool / steps
  return Float64Array.from({ length: steps }, (_, i) => (pool - Math.floor(i * stride)) * k - 1)
}
