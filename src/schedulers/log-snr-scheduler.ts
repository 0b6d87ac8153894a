import type { RandomSource } from "../ground/random/source.ts"
import type { Tensor } from "../ground/tensor.ts"
import {
  finalSigmasType,
  flag,
  noiseScheduleKeys,
  oneOf,
  positive,
  refused,
  rescaleBetasZeroSnr,
  sigmaSpacingKeys,
  thresholdKeys,
  timestepSpacing,
  walkKeys,
} from "./config.ts"
import type { CustomWalk, Scheduler, StepResult } from "./contract.ts"
import type { AskedWalk } from "./custom-walk.ts"
import { readWalk } from "./custom-walk.ts"
import type { NoiseLevel, Prediction } from "./prediction.ts"
import { levelAtSigma, noised, predictX0 } from "./prediction.ts"
import type { Thresholding } from "./thresholding.ts"
import { threshold } from "./thresholding.ts"
import type { SigmaPlan } from "./walk.ts"
import { trainingPlan, walkOver } from "./walk.ts"

/** The keys of solvers that reckon in log-SNR, DPM-Solver and UniPC. */
export const logSnrKeys = {
  ...noiseScheduleKeys,
  ...walkKeys,
  ...thresholdKeys,
  ...sigmaSpacingKeys,
  prediction_type: oneOf("epsilon", "sample", "v_prediction", "flow_prediction").default("epsilon"),
  rescale_betas_zero_snr: rescaleBetasZeroSnr,
  timestep_spacing: timestepSpacing.default("linspace"),
  /** Noise levels of rectified flow, x = (1 - sigma) x0 + sigma epsilon, shifted towards noise. */
  use_flow_sigmas: flag.default(false),
  flow_shift: positive.default(1),
  use_dynamic_shifting: refused("noise levels that do not shift with the picture's size"),
  final_sigmas_type: finalSigmasType.default("zero"),
}

/** One step of a solver, whatever the model says. */
export interface SolverStep {
  readonly sample: Tensor<"float32">
  /** Which step of the walk this is, from 0. */
  readonly index: number
  /** How many steps the walk has. */
  readonly steps: number
  /** The noise level before a step, or, for `steps`, after the last one. */
  levelAt(index: number): NoiseLevel
  readonly random: RandomSource
}

/** One step of a solver that reckons in log-SNR. */
export interface LogSnrStep extends SolverStep {
  readonly output: Tensor<"float32">
}

/** What makes one such solver differ from another. */
export interface LogSnrAlgorithm {
  readonly config: Readonly<Record<string, unknown>> & {
    readonly num_train_timesteps: number
    readonly use_flow_sigmas: boolean
  }
  /** sigma for each step of training, increasing. */
  readonly table: Float32Array
  readonly takes: readonly (keyof CustomWalk)[]
  /** Plans a walk, whose timesteps are still to be cut to whole numbers, and forgets the last one. */
  plan(walk: AskedWalk): SigmaPlan
  step(step: LogSnrStep): StepResult
}

/**
 * A scheduler that reckons in the half-log-SNR lambda = log(alpha / sigma) of samples alpha x0 + sigma epsilon, which
 * the model sees as they are.
 */
export function logSnrScheduler({ config, table, takes, plan, step }: LogSnrAlgorithm): Scheduler {
  const walk = walkOver(trainingPlan(table), "last")

  function levelAt(index: number): NoiseLevel {
    const sigma = walk.plan.sigmas[index]
    return config.use_flow_sigmas ? { alpha: Math.fround(1 - sigma), sigma } : levelAtSigma(sigma)
  }

  return {
    config,
    order: 1,
    initNoiseSigma: 1,
    get timesteps() {
      return walk.plan.timesteps
    },
    setTimesteps(asked) {
      const { timesteps, sigmas } = plan(readWalk(config, asked, takes))
      walk.start({ timesteps: timesteps.map(Math.trunc), sigmas })
    },
    setBeginIndex: walk.beginAt,
    scaleModelInput: (sample) => sample,
    step(output, timestep, sample, random) {
      const index = walk.index(timestep)
      const result = step({ output, sample, index, steps: walk.plan.timesteps.length, levelAt, random })
      walk.advance()
      return result
    },
    addNoise: (original, noise, timesteps) => noised(original, noise, walk.indices(timesteps).map(levelAt)),
  }
}

/** x0 from the model's output, thresholded where the configuration says so. */
export function thresholdedX0(
  config: Thresholding & { readonly prediction_type: Prediction; readonly thresholding: boolean },
  output: Tensor<"float32">,
  sample: Tensor<"float32">,
  level: NoiseLevel,
): Tensor<"float32"> {
  const x0 = predictX0(config.prediction_type, output, sample, level)
  return config.thresholding ? threshold(x0, config) : x0
}
