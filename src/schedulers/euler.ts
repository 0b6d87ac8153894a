import {
  finalSigmasType,
  noiseScheduleKeys,
  oneOf,
  positive,
  readConfig,
  rescaleBetasZeroSnr,
  sigmaSpacingKeys,
  timestepSpacing,
  walkKeys,
} from "./config.ts"
import type { Scheduler, StepResult } from "./contract.ts"
import { linspace32, sigmaTable } from "./noise-schedule.ts"
import { predictX0AtSigma } from "./prediction.ts"
import type { SigmaStep } from "./sigma-scheduler.ts"
import { sigmaScheduler } from "./sigma-scheduler.ts"
import { checkSpacing, respacedSigmas, sigmaAt, timestepOf } from "./sigma-spacing.ts"
import { fractionalTimesteps } from "./timesteps.ts"
import { weightedSum } from "./weighted-sum.ts"

const keys = {
  ...noiseScheduleKeys,
  ...walkKeys,
  ...sigmaSpacingKeys,
  rescale_betas_zero_snr: rescaleBetasZeroSnr,
  timestep_spacing: timestepSpacing.default("linspace"),
  /** "continuous", for v-prediction alone: the model is told log(sigma) / 4 instead of a timestep. */
  timestep_type: oneOf("discrete", "continuous").default("discrete"),
  /** "log_linear": sigmas evenly in the logarithm over all of training, whatever the timesteps. */
  interpolation_type: oneOf("linear", "log_linear").default("linear"),
  /** Ends of respaced sigmas in place of those that the timesteps give. */
  sigma_min: positive.optional(),
  sigma_max: positive.optional(),
  final_sigmas_type: finalSigmasType.default("zero"),
}

const f = Math.fround

/**
 * Euler's method (Karras 2022, Algorithm 2 without its second-order correction; diffusers
 * `EulerDiscreteScheduler`):
 *
 *   x' = x + (sigma' - sigma) (x - x0) / sigma
 *
 * With churn, noise first lifts the sample to sigma (1 + gamma) and the step starts there.
 */
export function euler(json: unknown): Scheduler {
  const config = readConfig("EulerDiscreteScheduler", keys, json)
  checkSpacing(config)
  const table = sigmaTable(config)
  const inLogSigma = config.timestep_type === "continuous" && config.prediction_type === "v_prediction"

  function plan(steps: number) {
    let timesteps = fractionalTimesteps(config, steps)
    let levels =
      config.interpolation_type === "linear"
        ? timesteps.map((t) => sigmaAt(table, t))
        : logLinearSigmas(table, steps)
    const highest = config.sigma_max ?? levels[0]
    const lowest = config.sigma_min ?? levels[levels.length - 1]
    const respaced = respacedSigmas(config, highest, lowest, steps)
    if (respaced) {
      levels = respaced
      timesteps = levels.map((sigma) => f(timestepOf(table, sigma)))
    }
    const sigmas = Float32Array.from([...levels, config.final_sigmas_type === "zero" ? 0 : table[0]])
    if (inLogSigma) timesteps = Float64Array.from(sigmas.subarray(0, -1), (s) => f(0.25 * f(Math.log(s))))
    return { timesteps, sigmas }
  }

  function step({ output, sample, sigma, nextSigma, steps, random, options }: SigmaStep): StepResult {
    const { sChurn = 0, sTmin = 0, sTmax = Number.POSITIVE_INFINITY, sNoise = 1 } = options
    const gamma = sTmin <= sigma && sigma <= sTmax ? Math.min(sChurn / steps, Math.SQRT2 - 1) : 0
    const from = f(sigma * f(gamma + 1))
    let lifted = sample
    if (gamma > 0) {
      const added = Math.sqrt(f(f(from * from) - f(sigma * sigma)))
      lifted = weightedSum([1, sample], [sNoise * added, random.randn(output.shape)])
    }
    // As in diffusers: v and x0 are still read at the level that the model was told.
    const level = config.prediction_type === "epsilon" ? from : sigma
    const x0 = predictX0AtSigma(config.prediction_type, output, lifted, level)
    const stride = (nextSigma - from) / from
    return { prevSample: weightedSum([1 + stride, lifted], [-stride, x0]), predOriginalSample: x0 }
  }

  return sigmaScheduler({ config, table, plan, step })
}

/** n + 1 sigmas from the last to the first of training, evenly in the logarithm. */
function logLinearSigmas(table: Float32Array, n: number): Float64Array {
  const first = f(Math.log(table[0]))
  const last = f(Math.log(table[table.length - 1]))
  return Float64Array.from(linspace32(last, first, n + 1), (logSigma) => f(Math.exp(logSigma)))
}
