import { FormatError } from "../ground/errors.ts"
import { roundHalfEven } from "../ground/rounding.ts"
import { z } from "../ground/schema.ts"
import { finite, flag, readConfig } from "./config.ts"
import type { Scheduler, StepResult } from "./contract.ts"
import type { AskedWalk } from "./custom-walk.ts"
import { checkNotGiven } from "./custom-walk.ts"
import { dpmHistory, dpmSolverKeys } from "./dpmsolver-history.ts"
import { shiftSigma } from "./flow-sigmas.ts"
import type { LogSnrStep } from "./log-snr-scheduler.ts"
import { logSnrKeys, logSnrScheduler, thresholdedX0 } from "./log-snr-scheduler.ts"
import { sigmaTable } from "./noise-schedule.ts"
import { predictEpsilon } from "./prediction.ts"
import { checkSpacing, respacedSigmas, sigmaAt, timestepOf } from "./sigma-spacing.ts"
import { linspace, solverTimesteps } from "./timesteps.ts"
import type { SigmaPlan } from "./walk.ts"

const keys = {
  ...logSnrKeys,
  ...dpmSolverKeys,
  /** Sigmas evenly in the logarithm over all of training (Lu 2022). */
  use_lu_lambdas: flag.default(false),
  /** Leaves out of the walk what is noisier than this log-SNR. */
  lambda_min_clipped: z
    .union([finite, z.literal(Number.NEGATIVE_INFINITY)])
    .default(Number.NEGATIVE_INFINITY),
  variance_type: z
    .string()
    .refine((type) => !type.startsWith("learned"), {
      error: "limn supports models that do not learn variances",
    })
    .optional(),
}

/**
 * DPM-Solver and DPM-Solver++, multistep (Lu 2022, arXiv 2206.00927 and 2211.01095), and their stochastic forms
 * (diffusers `DPMSolverMultistepScheduler`). Integrates the model's x0 (++) or epsilon exactly in the half-log-SNR
 * lambda = log(alpha / sigma), with a polynomial through the last `solver_order` of them. The coefficients are in
 * dpmsolver-coefficients.ts.
 */
export function dpmSolverMultistep(json: unknown): Scheduler {
  const config = readConfig("DPMSolverMultistepScheduler", keys, json)
  checkSpacing(config)
  const { algorithm_type: algorithm, prediction_type: prediction } = config
  const predictsX0 = algorithm.endsWith("++")
  if (!predictsX0 && config.final_sigmas_type === "zero")
    throw new FormatError(`"${algorithm}" cannot end at sigma 0; set "final_sigmas_type" to "sigma_min".`)
  if (algorithm === "sde-dpmsolver" && config.solver_order === 3)
    throw new FormatError('"sde-dpmsolver" has no third order; set "solver_order" to 1 or 2.')
  const table = sigmaTable(config)
  const history = dpmHistory(config)

  function step({ output, ...at }: LogSnrStep): StepResult {
    const level = at.levelAt(at.index)
    const x0 = thresholdedX0(config, output, at.sample, level)
    const epsilon = () =>
      config.thresholding
        ? predictEpsilon("sample", x0, at.sample, level)
        : predictEpsilon(prediction, output, at.sample, level)
    return { prevSample: history.step(predictsX0 ? x0 : epsilon(), at), predOriginalSample: x0 }
  }

  return logSnrScheduler({
    config,
    table,
    takes: ["timesteps"],
    plan(walk) {
      history.clear()
      return plan(config, table, walk)
    },
    step,
  })
}

type Config = z.output<z.ZodObject<typeof keys>>

function plan(config: Config, table: Float32Array, walk: AskedWalk): SigmaPlan {
  const n = table.length
  const lowest = table[0]
  const highest = table[n - 1]
  const { steps, timesteps: given } = walk
  const planned = (timesteps: Float64Array, levels: Float64Array) => {
    const after = config.final_sigmas_type === "zero" ? 0 : lowest
    return { timesteps, sigmas: Float32Array.from([...levels, after]) }
  }
  const timestepsOf = (levels: Float64Array) => levels.map((sigma) => timestepOf(table, sigma))
  const roundedOf = (levels: Float64Array) =>
    config.beta_schedule === "squaredcos_cap_v2"
      ? timestepsOf(levels)
      : timestepsOf(levels).map(roundHalfEven)

  const respaced =
    respacedSigmas(config, highest, lowest, steps) ??
    (config.use_lu_lambdas ? luSigmas(highest, lowest, steps) : undefined)
  if (respaced) {
    checkNotGiven(walk)
    const rounded = config.use_karras_sigmas || config.use_lu_lambdas
    return planned((rounded ? roundedOf : timestepsOf)(respaced), respaced)
  }
  if (config.use_flow_sigmas) {
    checkNotGiven(walk)
    const noisy = linspace(1, 1 / n, steps + 1).map((clean) => shiftSigma(1 - clean, config.flow_shift))
    const flow = noisy.reverse().subarray(0, steps)
    return planned(
      flow.map((sigma) => sigma * n),
      flow,
    )
  }
  const clipped = table.filter((sigma) => -Math.log(sigma) < config.lambda_min_clipped).length
  const timesteps = given ? Float64Array.from(given, Math.trunc) : solverTimesteps(config, steps, n - clipped)
  return planned(
    timesteps,
    timesteps.map((t) => sigmaAt(table, t)),
  )
}

/** Even steps of the logarithm, like exponential sigmas, but of logarithms in float32, by which timesteps are cut. */
function luSigmas(highest: number, lowest: number, n: number): Float64Array {
  const [top, bottom] = [Math.fround(Math.log(highest)), Math.fround(Math.log(lowest))]
  return linspace(0, 1, n).map((ramp) => Math.exp(top + ramp * (bottom - top)))
}
