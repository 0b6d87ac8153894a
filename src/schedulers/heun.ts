import type { Tensor } from "../ground/tensor.ts"
import {
  clipKeys,
  noiseScheduleKeys,
  oneOf,
  positive,
  readConfig,
  sigmaSpacingKeys,
  timestepSpacing,
  walkKeys,
} from "./config.ts"
import type { Scheduler, StepResult } from "./contract.ts"
import type { AskedWalk } from "./custom-walk.ts"
import { sigmaTable } from "./noise-schedule.ts"
import { predictX0AtSigma } from "./prediction.ts"
import { sigmaPlan } from "./sigma-plan.ts"
import type { SigmaStep } from "./sigma-scheduler.ts"
import { sigmaScheduler } from "./sigma-scheduler.ts"
import { checkSpacing } from "./sigma-spacing.ts"
import { clip } from "./thresholding.ts"
import type { SigmaPlan } from "./walk.ts"
import { trainingPlan } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

const keys = {
  ...noiseScheduleKeys,
  ...walkKeys,
  ...sigmaSpacingKeys,
  ...clipKeys(false),
  beta_start: positive.default(0.00085),
  beta_end: positive.default(0.012),
  beta_schedule: oneOf("linear", "scaled_linear", "squaredcos_cap_v2", "exp").default("linear"),
  timestep_spacing: timestepSpacing.default("linspace"),
}

/** The first half of a step: where it started, its slope there, and how far it goes. */
interface Start {
  readonly sample: Tensor<"float32">
  readonly slope: Tensor<"float32">
  readonly stride: number
}

/**
 * Heun's method (Karras 2022, Algorithm 1; diffusers `HeunDiscreteScheduler`). With d = (x - x0) / sigma, a first call
 * of the model steps by d, a second one steps again from the start by the mean of d at both ends:
 *
 *   x' = x + (sigma' - sigma) d    then    x' = x + (sigma' - sigma) (d + d') / 2
 *
 * The last step has no second call, since it ends at sigma 0: 2 n - 1 calls for n steps.
 */
export function heun(json: unknown): Scheduler {
  const config = readConfig("HeunDiscreteScheduler", keys, json)
  checkSpacing(config)
  const table = sigmaTable(config)
  let start: Start | undefined

  function plan(walk: AskedWalk): SigmaPlan {
    start = undefined
    const { timesteps, sigmas } = sigmaPlan(config, table, walk, 0)
    // Each noise level between the first and the last is called at twice: where a step arrives, where one starts.
    const twice = (_: number, i: number) => Math.ceil(i / 2)
    const calls = Array.from({ length: 2 * timesteps.length - 1 }, twice)
    return {
      timesteps: Float64Array.from(calls, (i) => timesteps[i]),
      sigmas: Float32Array.from([...calls.map((i) => sigmas[i]), 0]),
    }
  }

  function step({ output, sample, sigma, nextSigma }: SigmaStep): StepResult {
    const free = predictX0AtSigma(config.prediction_type, output, sample, sigma)
    const x0 = config.clip_sample ? clip(free, config.clip_sample_range) : free
    const slope = weightedSum([1 / sigma, sample], [-1 / sigma, x0])
    if (start === undefined) {
      const stride = nextSigma - sigma
      start = { sample, slope, stride }
      return { prevSample: weightedSum([1, sample], [stride, slope]), predOriginalSample: x0 }
    }
    const { sample: from, slope: first, stride } = start
    start = undefined
    return {
      prevSample: weightedSum([1, from], [stride / 2, first], [stride / 2, slope]),
      predOriginalSample: x0,
    }
  }

  return sigmaScheduler({
    config,
    order: 2,
    training: trainingPlan(table),
    takes: ["timesteps"],
    plan,
    step,
  })
}
