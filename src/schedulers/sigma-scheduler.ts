import type { RandomSource } from "../ground/random/source.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { Scheduler, StepOptions, StepResult } from "./contract.ts"
import type { TimestepSpacing } from "./timesteps.ts"
import { checkSteps } from "./timesteps.ts"
import { sigmaWalk } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

/** One step of an algorithm that keeps its sample as x0 + sigma epsilon. */
export interface SigmaStep {
  readonly output: Tensor<"float32">
  readonly sample: Tensor<"float32">
  /** The noise level of `sample`. */
  readonly sigma: number
  /** The noise level that the step is to reach. */
  readonly nextSigma: number
  /** How many steps the walk has. */
  readonly steps: number
  readonly random: RandomSource
  readonly options: StepOptions
}

/** What makes one such algorithm differ from another. */
export interface SigmaAlgorithm {
  readonly config: TimestepSpacing & Readonly<Record<string, unknown>>
  /** sigma for each step of training, increasing. */
  readonly table: Float32Array
  /** Timesteps [n] and sigmas [n + 1] of a walk, highest first. */
  plan(steps: number): { timesteps: Float64Array; sigmas: Float32Array }
  step(step: SigmaStep): StepResult
}

/**
 * A scheduler of Karras's family (Karras 2022, as in k-diffusion): the sample is x0 + sigma epsilon, so it starts
 * as large as the highest sigma, and the model sees it divided by sqrt(sigma^2 + 1).
 */
export function sigmaScheduler(algorithm: SigmaAlgorithm): Scheduler {
  const { config } = algorithm
  const walk = sigmaWalk(algorithm.table, "refuse")
  return {
    config,
    order: 1,
    get timesteps() {
      return walk.timesteps
    },
    get initNoiseSigma() {
      const highest = walk.sigmas.reduce((a, b) => Math.max(a, b))
      // "Leading" starts below the noisiest level of training, where the sample still holds some of x0.
      return Math.fround(
        config.timestep_spacing === "leading" ? Math.sqrt(Math.fround(highest * highest) + 1) : highest,
      )
    },
    setTimesteps(steps) {
      checkSteps(steps, config)
      const { timesteps, sigmas } = algorithm.plan(steps)
      walk.plan(timesteps, sigmas)
    },
    setBeginIndex: walk.beginAt,
    scaleModelInput(sample, timestep) {
      const sigma = walk.sigmas[walk.index(timestep)]
      return weightedSum([1 / Math.sqrt(sigma * sigma + 1), sample])
    },
    step(output, timestep, sample, random, options = {}) {
      const index = walk.index(timestep)
      const result = algorithm.step({
        output,
        sample,
        sigma: walk.sigmas[index],
        nextSigma: walk.sigmas[index + 1],
        steps: walk.sigmas.length - 1,
        random,
        options,
      })
      walk.advance()
      return result
    },
    addNoise: (original, noise, timesteps) => weightedSum([1, original], [walk.sigmasAt(timesteps), noise]),
  }
}
