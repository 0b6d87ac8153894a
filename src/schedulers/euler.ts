import { UsageError } from "../ground/errors.ts"
import type { Tensor } from "../ground/tensor.ts"
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
import type { AskedWalk } from "./custom-walk.ts"
import { linspace32, sigmaTable } from "./noise-schedule.ts"
import { predictX0AtSigma } from "./prediction.ts"
import { sigmaPlan } from "./sigma-plan.ts"
import type { SigmaStep } from "./sigma-scheduler.ts"
import { sigmaScheduler } from "./sigma-scheduler.ts"
import { checkSpacing, timestepOf } from "./sigma-spacing.ts"
import type { SigmaPlan } from "./walk.ts"
import { trainingPlan } from "./walk.ts"
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

  function plan(walk: AskedWalk): SigmaPlan {
    const { sigmas: given, steps } = walk
    if (given && steps < 2)
      throw new UsageError("One sigma makes no step; give at least two, the last of which is reached.")
    if (given) return told({ timesteps: timestepsOf(given.slice(0, -1)), sigmas: Float32Array.from(given) })
    const after = config.final_sigmas_type === "zero" ? 0 : table[0]
    const logLinear = config.interpolation_type === "log_linear"
    return told(
      sigmaPlan(config, table, walk, after, logLinear ? () => logLinearSigmas(table, steps) : undefined),
    )
  }

  function timestepsOf(sigmas: readonly number[]): Float64Array {
    return Float64Array.from(sigmas, (sigma) => f(timestepOf(table, f(sigma))))
  }

  /** What the model is told: the timesteps, unless it wants the noise level itself. */
  function told(walk: SigmaPlan): SigmaPlan {
    if (!inLogSigma) return walk
    const levels = walk.sigmas.subarray(0, -1)
    return { ...walk, timesteps: Float64Array.from(levels, (s) => f(0.25 * f(Math.log(s)))) }
  }

  function step(step: SigmaStep): StepResult {
    return eulerStep(step, (lifted, from) => {
      // As in diffusers: v and x0 are still read at the level that the model was told.
      const level = config.prediction_type === "epsilon" ? from : step.sigma
      return predictX0AtSigma(config.prediction_type, step.output, lifted, level)
    })
  }

  return sigmaScheduler({
    config,
    training: trainingPlan(table),
    takes: ["timesteps", "sigmas"],
    plan,
    step,
  })
}

/** One step by Euler's method, with churn; `x0At` reads the model's output for the lifted sample, at its sigma. */
export function eulerStep(
  { sample, sigma, nextSigma, sigmas, random, options }: SigmaStep,
  x0At: (lifted: Tensor<"float32">, from: number) => Tensor<"float32">,
): StepResult {
  const { sChurn = 0, sTmin = 0, sTmax = Number.POSITIVE_INFINITY, sNoise = 1 } = options
  const steps = sigmas.length - 1
  const gamma = sTmin <= sigma && sigma <= sTmax ? Math.min(sChurn / steps, Math.SQRT2 - 1) : 0
  const from = f(sigma * f(gamma + 1))
  let lifted = sample
  if (gamma > 0) {
    const added = Math.sqrt(f(f(from * from) - f(sigma * sigma)))
    lifted = weightedSum([1, sample], [sNoise * added, random.randn(sample.shape)])
  }
  const x0 = x0At(lifted, from)
  const stride = (nextSigma - from) / from
  return { prevSample: weightedSum([1 + stride, lifted], [-stride, x0]), predOriginalSample: x0 }
}

/** n + 1 sigmas from the last to the first of training, evenly in the logarithm. */
function logLinearSigmas(table: Float32Array, n: number): Float64Array {
  const first = f(Math.log(table[0]))
  const last = f(Math.log(table[table.length - 1]))
  return Float64Array.from(linspace32(last, first, n + 1), (logSigma) => f(Math.exp(logSigma)))
}
