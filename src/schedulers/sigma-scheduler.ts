import type { RandomSource } from "../ground/random/source.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { CustomWalk, Scheduler, StepOptions, StepResult } from "./contract.ts"
import type { AskedWalk } from "./custom-walk.ts"
import { readWalk } from "./custom-walk.ts"
import type { SigmaPlan } from "./walk.ts"
import { walkOver } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

/** One step of an algorithm that keeps its sample as x0 + sigma epsilon. */
export interface SigmaStep {
  readonly output: Tensor<"float32">
  readonly sample: Tensor<"float32">
  /** The noise level of `sample`. */
  readonly sigma: number
  /** The noise level that the step is to reach. */
  readonly nextSigma: number
  /** The whole walk's, one more than it has steps. */
  readonly sigmas: Float32Array
  /** Where `sigma` stands among them. */
  readonly index: number
  readonly random: RandomSource
  readonly options: StepOptions
}

/** What makes one such algorithm differ from another. */
export interface SigmaAlgorithm {
  readonly config: { readonly num_train_timesteps: number } & Readonly<Record<string, unknown>>
  /** Calls of the model in one step; default 1. */
  readonly order?: number
  /** All of training. */
  readonly training: SigmaPlan
  /** What a walk can be given besides a number of steps; default nothing. */
  readonly takes?: readonly (keyof CustomWalk)[]
  /** Plans a walk and forgets the last one. */
  plan(walk: AskedWalk): SigmaPlan
  step(step: SigmaStep): StepResult
  /** What the model sees for a unit of the sample; default 1 / sqrt(sigma^2 + 1). */
  inputScale?(sigma: number): number
  /** Deviation of the noise that a walk over such sigmas starts from; default the highest of them. */
  startSigma?(sigmas: Float32Array): number
  /** What becomes of a timestep that is not on the walk; default an error. */
  readonly elsewhere?: "refuse" | "last"
}

/**
 * A scheduler of Karras's family (Karras 2022, as in k-diffusion): the sample is x0 + sigma epsilon, so it starts
 * as large as the highest sigma, and the model sees it divided by sqrt(sigma^2 + 1).
 */
export function sigmaScheduler(algorithm: SigmaAlgorithm): Scheduler {
  const { config, order = 1, takes, elsewhere = "refuse" } = algorithm
  const { inputScale = unitVariance, startSigma = highestSigma(config) } = algorithm
  const walk = walkOver(algorithm.training, elsewhere)
  return {
    config,
    order,
    get timesteps() {
      return walk.plan.timesteps
    },
    get initNoiseSigma() {
      return Math.fround(startSigma(walk.plan.sigmas))
    },
    setTimesteps: (asked) => walk.start(algorithm.plan(readWalk(config, asked, takes))),
    setBeginIndex: walk.beginAt,
    scaleModelInput: (sample, timestep) =>
      weightedSum([inputScale(walk.plan.sigmas[walk.index(timestep)]), sample]),
    step(output, timestep, sample, random, options = {}) {
      const index = walk.index(timestep)
      const { sigmas } = walk.plan
      const [sigma, nextSigma] = sigmas.subarray(index, index + 2)
      const result = algorithm.step({ output, sample, sigma, nextSigma, sigmas, index, random, options })
      walk.advance()
      return result
    },
    addNoise: (original, noise, timesteps) =>
      weightedSum([1, original], [walk.indices(timesteps).map((i) => walk.plan.sigmas[i]), noise]),
  }
}

/** Makes x0 of unit variance, with its noise, one of unit variance again. */
function unitVariance(sigma: number): number {
  return 1 / Math.sqrt(sigma * sigma + 1)
}

/** "Leading" starts below the noisiest level of training, where the sample still holds some of x0. */
function highestSigma({ timestep_spacing: spacing }: SigmaAlgorithm["config"]) {
  return (sigmas: Float32Array) => {
    const highest = sigmas.reduce((a, b) => Math.max(a, b))
    return spacing === "leading" ? Math.sqrt(Math.fround(highest * highest) + 1) : highest
  }
}
