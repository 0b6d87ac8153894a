import type { Tensor } from "../ground/tensor.ts"
import { count, finalSigmasType, oneOf, positive } from "./config.ts"
import type { Scheduler } from "./contract.ts"
import type { SigmaAlgorithm } from "./sigma-scheduler.ts"
import { sigmaScheduler } from "./sigma-scheduler.ts"
import { exponentialSigmas, karrasSigmas } from "./sigma-spacing.ts"
import type { SigmaPlan } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

/*
 * Models in the form of EDM (Karras 2022, Table 1): they see a sample x0 + sigma noise scaled to unit variance, are
 * told log(sigma) / 4 instead of a timestep, and their output F stands, where d is the deviation of the data, for
 *
 *   x0 = d^2 / (sigma^2 + d^2) x + sigma d / sqrt(sigma^2 + d^2) F
 */

/** The keys of schedulers for such models. */
export const edmKeys = {
  num_train_timesteps: count.default(1000),
  sigma_min: positive.default(0.002),
  sigma_max: positive.default(80),
  /** d, the deviation of the data. */
  sigma_data: positive.default(0.5),
  sigma_schedule: oneOf("karras", "exponential").default("karras"),
  /** Even steps are of sigma^(1 / rho). */
  rho: positive.default(7),
  /** "v_prediction": the model's output is -F. */
  prediction_type: oneOf("epsilon", "v_prediction").default("epsilon"),
  final_sigmas_type: finalSigmasType.default("zero"),
}

interface Edm {
  readonly num_train_timesteps: number
  readonly sigma_min: number
  readonly sigma_max: number
  readonly sigma_data: number
  readonly sigma_schedule: "karras" | "exponential"
  readonly rho: number
  readonly prediction_type: "epsilon" | "v_prediction"
  readonly final_sigmas_type: "zero" | "sigma_min"
}

/** What makes one scheduler for such models differ from another. */
type EdmAlgorithm = Pick<SigmaAlgorithm, "step" | "elsewhere"> & {
  /** Called when a walk is planned. */
  reset?(): void
}

/** A scheduler for such models: of Karras's family, its noise levels between those of the configuration. */
export function edmScheduler(config: Edm & SigmaAlgorithm["config"], algorithm: EdmAlgorithm): Scheduler {
  const { sigma_data: d, sigma_max: highest, sigma_min: lowest, rho } = config
  const after = config.final_sigmas_type === "zero" ? 0 : lowest
  const evenly = config.sigma_schedule === "karras" ? karrasSigmas : exponentialSigmas

  function plan({ steps }: { readonly steps: number }): SigmaPlan {
    const sigmas = Float32Array.from([...evenly(highest, lowest, steps, rho), after])
    const levels = sigmas.subarray(0, steps)
    return {
      sigmas,
      timesteps: Float64Array.from(levels, (s) => Math.fround(0.25 * Math.fround(Math.log(s)))),
    }
  }

  return sigmaScheduler({
    config,
    training: plan({ steps: config.num_train_timesteps }),
    plan(walk) {
      algorithm.reset?.()
      return plan(walk)
    },
    inputScale: (sigma) => 1 / Math.sqrt(sigma * sigma + d * d),
    startSigma: () => Math.sqrt(highest * highest + 1),
    ...algorithm,
  })
}

/** x0 from the model's output for a sample at sigma. */
export function edmX0(
  { sigma_data: d, prediction_type: prediction }: Edm,
  output: Tensor<"float32">,
  sample: Tensor<"float32">,
  sigma: number,
): Tensor<"float32"> {
  const size = sigma * sigma + d * d
  const onOutput = (sigma * d) / Math.sqrt(size)
  return weightedSum([(d * d) / size, sample], [prediction === "epsilon" ? onOutput : -onOutput, output])
}
