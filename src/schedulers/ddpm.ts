import {
  clipKeys,
  noiseScheduleKeys,
  oneOf,
  readConfig,
  rescaleBetasZeroSnr,
  thresholdKeys,
  timestepSpacing,
  walkKeys,
} from "./config.ts"
import type { Scheduler } from "./contract.ts"
import { readWalk } from "./custom-walk.ts"
import { alphaAt, alphasCumprod } from "./noise-schedule.ts"
import { levelOf, levelsAt, noised, predictX0 } from "./prediction.ts"
import { withinRange } from "./thresholding.ts"
import { wholeTimesteps } from "./timesteps.ts"
import { offPlan, trainingTimesteps, unplanned } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

const keys = {
  ...noiseScheduleKeys,
  ...walkKeys,
  ...thresholdKeys,
  ...clipKeys(true),
  beta_schedule: oneOf("linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid", "laplace").default(
    "linear",
  ),
  rescale_betas_zero_snr: rescaleBetasZeroSnr,
  timestep_spacing: timestepSpacing.default("leading"),
  /** Variance of the noise of a step: the posterior's, for data of one point, or beta. */
  variance_type: oneOf("fixed_small", "fixed_small_log", "fixed_large").default("fixed_small"),
}

const f = Math.fround

/**
 * Denoising Diffusion Probabilistic Models (Ho 2020, equation 7; diffusers `DDPMScheduler`). With a for alphasCumprod
 * at t, a' at the next timestep of the walk, and b = 1 - a / a',
 *
 *   x' = (sqrt(a') b x0 + sqrt(a / a') (1 - a') x) / (1 - a) + sqrt(v) noise
 *   v  = (1 - a') / (1 - a) b, or b where variance_type is "fixed_large"
 *
 * No noise is drawn at timestep 0.
 */
export function ddpm(json: unknown): Scheduler {
  const config = readConfig("DDPMScheduler", keys, json)
  const products = alphasCumprod(config)
  let timesteps = trainingTimesteps(products.length)
  let planned = false

  return {
    config,
    order: 1,
    initNoiseSigma: 1,
    get timesteps() {
      return timesteps
    },

    setTimesteps(asked) {
      const { steps, timesteps: given } = readWalk(config, asked, ["timesteps"])
      timesteps = given ? Float64Array.from(given, Math.trunc) : wholeTimesteps(config, steps)
      planned = true
    },

    // The timestep alone says where the walk is.
    setBeginIndex() {},

    scaleModelInput: (sample) => sample,

    step(output, timestep, sample, random) {
      if (!planned) throw unplanned()
      const index = timesteps.indexOf(timestep)
      if (index < 0) throw offPlan(timestep)
      const next = timesteps[index + 1] ?? -1
      const a = alphaAt(products, timestep)
      const aNext = next >= 0 ? products[next] : 1
      const ratio = f(a / aNext)
      const [beta, b, bNext] = [f(1 - ratio), f(1 - a), f(1 - aNext)]
      const x0 = withinRange(predictX0(config.prediction_type, output, sample, levelOf(a)), config)
      const onX0 = f(f(f(Math.sqrt(aNext)) * beta) / b)
      const onSample = f(f(f(Math.sqrt(ratio)) * bNext) / b)
      let prevSample = weightedSum([onX0, x0], [onSample, sample])
      if (timestep > 0) {
        const variance =
          config.variance_type === "fixed_large" ? beta : Math.max(f(f(bNext / b) * beta), 1e-20)
        prevSample = weightedSum([1, prevSample], [f(Math.sqrt(variance)), random.randn(output.shape)])
      }
      return { prevSample, predOriginalSample: x0 }
    },

    addNoise: (original, noise, at) => noised(original, noise, levelsAt(products, at)),
  }
}
