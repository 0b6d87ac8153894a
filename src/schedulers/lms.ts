import type { Tensor } from "../ground/tensor.ts"
import { noiseScheduleKeys, readConfig, sigmaSpacingKeys, timestepSpacing, walkKeys } from "./config.ts"
import type { Scheduler, StepResult } from "./contract.ts"
import { sigmaTable } from "./noise-schedule.ts"
import { predictX0AtSigma } from "./prediction.ts"
import { sigmaPlan } from "./sigma-plan.ts"
import type { SigmaStep } from "./sigma-scheduler.ts"
import { sigmaScheduler } from "./sigma-scheduler.ts"
import { checkSpacing } from "./sigma-spacing.ts"
import { trainingPlan } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

const keys = {
  ...noiseScheduleKeys,
  ...walkKeys,
  ...sigmaSpacingKeys,
  timestep_spacing: timestepSpacing.default("linspace"),
}

/** Slopes that one step looks back on. */
const highestOrder = 4

/**
 * The linear multistep method of Adams and Bashforth over sigma (k-diffusion's LMS; diffusers
 * `LMSDiscreteScheduler`). With d = (x - x0) / sigma at the last four noise levels,
 *
 *   x' = x + the integral from sigma to sigma' of the polynomial through them
 */
export function lms(json: unknown): Scheduler {
  const config = readConfig("LMSDiscreteScheduler", keys, json)
  checkSpacing(config)
  const table = sigmaTable(config)
  /** d at the last steps, newest first. */
  let slopes: Tensor<"float32">[] = []

  function step({ output, sample, sigma, sigmas, index }: SigmaStep): StepResult {
    const x0 = predictX0AtSigma(config.prediction_type, output, sample, sigma)
    slopes = [weightedSum([1 / sigma, sample], [-1 / sigma, x0]), ...slopes].slice(0, highestOrder)
    // As in diffusers: a walk that begins in the middle takes its order from the index, not from what it has seen.
    const weights = multistepWeights(sigmas, index, Math.min(index + 1, highestOrder))
    const terms = slopes.map((slope, i) => [weights[i], slope] as const)
    return { prevSample: weightedSum([1, sample], ...terms), predOriginalSample: x0 }
  }

  return sigmaScheduler({
    config,
    training: trainingPlan(table),
    plan(walk) {
      slopes = []
      return sigmaPlan(config, table, walk, 0)
    },
    step,
  })
}

/**
 * The integrals from sigma to sigma' of the polynomials, of degree 3 at most, that are 1 at one of the last noise
 * levels and 0 at the others, newest first. Two points of Gauss's are exact for them.
 */
function multistepWeights(sigmas: Float32Array, index: number, order: number): number[] {
  const levels = Array.from({ length: order }, (_, i) => sigmas[index - i])
  const half = (sigmas[index + 1] - sigmas[index]) / 2
  const points = [-1, 1].map((side) => sigmas[index] + half * (1 + side / Math.sqrt(3)))
  return levels.map((own, i) => {
    const others = levels.toSpliced(i, 1)
    const basis = (at: number) =>
      others.reduce((product, other) => (product * (at - other)) / (own - other), 1)
    return half * (basis(points[0]) + basis(points[1]))
  })
}
