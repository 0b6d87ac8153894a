import { UsageError } from "../ground/errors.ts"
import {
  clipKeys,
  flag,
  noiseScheduleKeys,
  readConfig,
  rescaleBetasZeroSnr,
  thresholdKeys,
  timestepSpacing,
  walkKeys,
} from "./config.ts"
import type { Scheduler } from "./contract.ts"
import { readWalk } from "./custom-walk.ts"
import { alphaAt, alphasCumprod } from "./noise-schedule.ts"
import { levelOf, levelsAt, noised, predictEpsilon, predictX0 } from "./prediction.ts"
import { withinRange } from "./thresholding.ts"
import { wholeTimesteps } from "./timesteps.ts"
import { trainingTimesteps, unplanned } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

const keys = {
  ...noiseScheduleKeys,
  ...walkKeys,
  ...thresholdKeys,
  ...clipKeys(true),
  rescale_betas_zero_snr: rescaleBetasZeroSnr,
  timestep_spacing: timestepSpacing.default("leading"),
  /** Past the last step lies a clean sample; otherwise the noise level of timestep 0. */
  set_alpha_to_one: flag.default(true),
}

const f = Math.fround

/**
 * Denoising Diffusion Implicit Models (Song 2020, equation 12; diffusers `DDIMScheduler`). With a for
 * alphasCumprod at t and a' at the timestep after it,
 *
 *   x' = sqrt(a') x0 + sqrt(1 - a' - s^2) epsilon + s noise
 *   s  = eta sqrt((1 - a') / (1 - a) (1 - a / a'))
 */
export function ddim(json: unknown): Scheduler {
  const config = readConfig("DDIMScheduler", keys, json)
  const products = alphasCumprod(config)
  const afterLast = config.set_alpha_to_one ? 1 : products[0]
  let timesteps = trainingTimesteps(products.length)
  let stride: number | undefined

  return {
    config,
    order: 1,
    initNoiseSigma: 1,
    get timesteps() {
      return timesteps
    },

    setTimesteps(walk) {
      const { steps } = readWalk(config, walk)
      timesteps = wholeTimesteps(config, steps)
      stride = Math.floor(products.length / steps)
    },

    // The timestep alone says where the walk is.
    setBeginIndex() {},

    scaleModelInput: (sample) => sample,

    step(output, timestep, sample, random, { eta = 0 } = {}) {
      if (stride === undefined) throw unplanned()
      checkEta(eta)
      const next = timestep - stride
      const a = alphaAt(products, timestep)
      const aNext = next >= 0 ? products[next] : afterLast
      const level = levelOf(a)
      const x0 = withinRange(predictX0(config.prediction_type, output, sample, level), config)
      const epsilon = predictEpsilon(config.prediction_type, output, sample, level)

      const variance = f(f(f(1 - aNext) / f(1 - a)) * f(1 - f(a / aNext)))
      const s = f(eta * f(Math.sqrt(variance)))
      // At zero SNR and eta 1 nothing is left, and rounding may leave less.
      const direction = Math.sqrt(Math.max(0, f(f(1 - aNext) - f(s * s))))
      let prevSample = weightedSum([f(Math.sqrt(aNext)), x0], [f(direction), epsilon])
      if (eta > 0) prevSample = weightedSum([1, prevSample], [s, random.randn(output.shape)])
      return { prevSample, predOriginalSample: x0 }
    },

    addNoise: (original, noise, at) => noised(original, noise, levelsAt(products, at)),
  }
}

/** Throws a UsageError unless eta is a share. */
export function checkEta(eta: number): void {
  if (!(eta >= 0 && eta <= 1)) throw new UsageError(`eta ${eta} is not possible; choose it from 0 to 1.`)
}
