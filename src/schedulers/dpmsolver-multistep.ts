import { z } from "zod"
import { FormatError } from "../ground/errors.ts"
import type { Tensor } from "../ground/tensor.ts"
import {
  finalSigmasType,
  finite,
  flag,
  noiseScheduleKeys,
  oneOf,
  positive,
  readConfig,
  rescaleBetasZeroSnr,
  sigmaSpacingKeys,
  thresholdKeys,
  timestepSpacing,
  walkKeys,
} from "./config.ts"
import type { Scheduler } from "./contract.ts"
import type { DpmAlgorithm, DpmSolverType } from "./dpmsolver-coefficients.ts"
import { dpmWeights } from "./dpmsolver-coefficients.ts"
import { sigmaTable } from "./noise-schedule.ts"
import type { NoiseLevel } from "./prediction.ts"
import { levelAtSigma, noised, predictEpsilon, predictX0 } from "./prediction.ts"
import { checkSpacing, respacedSigmas, sigmaAt, timestepOf } from "./sigma-spacing.ts"
import { threshold } from "./thresholding.ts"
import { checkSteps, linspace, roundHalfEven, solverTimesteps } from "./timesteps.ts"
import { sigmaWalk } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

const keys = {
  ...noiseScheduleKeys,
  ...walkKeys,
  ...thresholdKeys,
  ...sigmaSpacingKeys,
  prediction_type: oneOf("epsilon", "sample", "v_prediction", "flow_prediction").default("epsilon"),
  rescale_betas_zero_snr: rescaleBetasZeroSnr,
  timestep_spacing: timestepSpacing.default("linspace"),
  solver_order: z.literal([1, 2, 3], { error: "limn needs 1, 2 or 3" }).default(2),
  // DEIS and UniPC configurations that are moved here keep their own words; diffusers reads them so.
  algorithm_type: translated(
    { deis: "dpmsolver++" },
    oneOf<readonly [DpmAlgorithm, ...DpmAlgorithm[]]>(
      "dpmsolver",
      "dpmsolver++",
      "sde-dpmsolver",
      "sde-dpmsolver++",
    ).default("dpmsolver++"),
  ),
  solver_type: translated(
    { logrho: "midpoint", bh1: "midpoint", bh2: "midpoint" },
    oneOf<readonly [DpmSolverType, ...DpmSolverType[]]>("midpoint", "heun").default("midpoint"),
  ),
  /** In walks of fewer than 15 steps: order 2 at most before the last step, order 1 at the last. */
  lower_order_final: flag.default(true),
  /** Order 1 at the last step, however long the walk. */
  euler_at_final: flag.default(false),
  /** Sigmas evenly in the logarithm over all of training (Lu 2022). */
  use_lu_lambdas: flag.default(false),
  /** Noise levels of rectified flow, x = (1 - sigma) x0 + sigma epsilon, shifted towards noise. */
  use_flow_sigmas: flag.default(false),
  flow_shift: positive.default(1),
  final_sigmas_type: finalSigmasType.default("zero"),
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

const f = Math.fround

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
  const walk = sigmaWalk(table, "last")
  /** What the model said at the last steps, as x0 or epsilon, newest first. */
  let history: Tensor<"float32">[] = []

  const levelAt = config.use_flow_sigmas
    ? (sigma: number) => ({ alpha: f(1 - sigma), sigma })
    : (ratio: number) => levelAtSigma(ratio)

  /** What the solver integrates: x0 for the ++ forms, epsilon for the others; and x0 for previews. */
  function convert(output: Tensor<"float32">, sample: Tensor<"float32">, level: NoiseLevel) {
    const free = predictX0(prediction, output, sample, level)
    const x0 = config.thresholding ? threshold(free, config) : free
    if (predictsX0) return { x0, integrand: x0 }
    const epsilon = config.thresholding
      ? predictEpsilon("sample", x0, sample, level)
      : predictEpsilon(prediction, output, sample, level)
    return { x0, integrand: epsilon }
  }

  function highestOrder(index: number): number {
    const left = walk.timesteps.length - index
    const short = config.lower_order_final && walk.timesteps.length < 15
    if (left === 1 && (short || config.euler_at_final || config.final_sigmas_type === "zero")) return 1
    return left === 2 && short ? 2 : 3
  }

  return {
    config,
    order: 1,
    initNoiseSigma: 1,
    get timesteps() {
      return walk.timesteps
    },

    setTimesteps(steps) {
      checkSteps(steps, config)
      const { timesteps, levels } = plan(config, table, steps)
      const after = config.final_sigmas_type === "zero" ? 0 : table[0]
      walk.plan(timesteps.map(Math.trunc), Float32Array.from([...levels, after]))
      history = []
    },

    setBeginIndex: walk.beginAt,

    scaleModelInput: (sample) => sample,

    step(output, timestep, sample, random) {
      const index = walk.index(timestep)
      const from = levelAt(walk.sigmas[index])
      const { x0, integrand } = convert(output, sample, from)
      history = [integrand, ...history].slice(0, config.solver_order)
      const order = Math.min(history.length, highestOrder(index))
      const levels = Array.from({ length: order + 1 }, (_, i) => levelAt(walk.sigmas[index + 1 - i]))
      const weights = dpmWeights(algorithm, config.solver_type, levels)
      const terms = weights.integrands.map((weight, i) => [weight, history[i]] as const)
      if (algorithm.startsWith("sde")) terms.push([weights.noise, random.randn(output.shape)])
      const prevSample = weightedSum([weights.sample, sample], ...terms)
      walk.advance()
      return { prevSample, predOriginalSample: x0 }
    },

    addNoise: (original, noise, timesteps) => noised(original, noise, walk.sigmasAt(timesteps).map(levelAt)),
  }
}

type Config = z.output<z.ZodObject<typeof keys>>

/** Timesteps and noise levels of a walk, highest first; timesteps that fall between two are still to be cut. */
function plan(config: Config, table: Float32Array, steps: number) {
  const n = table.length
  const lowest = table[0]
  const highest = table[n - 1]
  const timestepsOf = (levels: Float64Array) => levels.map((sigma) => timestepOf(table, sigma))
  const roundedOf = (levels: Float64Array) =>
    config.beta_schedule === "squaredcos_cap_v2"
      ? timestepsOf(levels)
      : timestepsOf(levels).map(roundHalfEven)

  const levels = respacedSigmas(config, highest, lowest, steps)
  if (levels) return { levels, timesteps: config.use_karras_sigmas ? roundedOf(levels) : timestepsOf(levels) }
  if (config.use_lu_lambdas) {
    const logs = linspace(0, 1, steps).map(
      (ramp) => f(Math.log(highest)) + ramp * (f(Math.log(lowest)) - f(Math.log(highest))),
    )
    const lu = logs.map(Math.exp)
    return { levels: lu, timesteps: roundedOf(lu) }
  }
  if (config.use_flow_sigmas) {
    const { flow_shift: shift } = config
    const flow = linspace(1, 1 / n, steps + 1)
      .map((clean) => (shift * (1 - clean)) / (1 + (shift - 1) * (1 - clean)))
      .reverse()
      .subarray(0, steps)
    return { levels: flow, timesteps: flow.map((sigma) => sigma * n) }
  }
  const clipped = table.filter((sigma) => -Math.log(sigma) < config.lambda_min_clipped).length
  const timesteps = solverTimesteps(config, steps, n - clipped)
  return { levels: timesteps.map((t) => sigmaAt(table, t)), timesteps }
}

/** A schema that reads some words of other schedulers as its own. */
function translated<S extends z.ZodType>(words: Readonly<Record<string, string>>, schema: S) {
  return z.preprocess((given) => (typeof given === "string" ? (words[given] ?? given) : given), schema)
}
