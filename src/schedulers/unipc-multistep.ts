import { FormatError, UsageError } from "../ground/errors.ts"
import { roundHalfEven } from "../ground/rounding.ts"
import { z } from "../ground/schema.ts"
import type { Tensor } from "../ground/tensor.ts"
import { count, flag, nonNegativeInteger, oneOf, positive, readConfig, share, translated } from "./config.ts"
import type { Scheduler, StepResult } from "./contract.ts"
import type { AskedWalk } from "./custom-walk.ts"
import { checkNotGiven } from "./custom-walk.ts"
import { shiftSigmas } from "./flow-sigmas.ts"
import type { LogSnrStep } from "./log-snr-scheduler.ts"
import { logSnrKeys, logSnrScheduler, thresholdedX0 } from "./log-snr-scheduler.ts"
import { sigmaTable } from "./noise-schedule.ts"
import { predictEpsilon, sameLevel } from "./prediction.ts"
import { checkSpacing, respacedSigmas, sigmaAt, timestepOf } from "./sigma-spacing.ts"
import { linspace, solverTimesteps } from "./timesteps.ts"
import { uniPcWeights } from "./unipc-coefficients.ts"
import type { SigmaPlan } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

const keys = {
  ...logSnrKeys,
  solver_order: count.default(2),
  /** Whether to integrate x0 or epsilon. */
  predict_x0: flag.default(true),
  // DPM-Solver and DEIS configurations that are moved here keep their own words; diffusers reads them so.
  solver_type: translated(
    { midpoint: "bh2", heun: "bh2", logrho: "bh2" },
    oneOf("bh1", "bh2").default("bh2"),
  ),
  /** No order higher than the steps that are left. */
  lower_order_final: flag.default(true),
  /** Steps, from 0, whose arrival is not corrected. */
  disable_corrector: z.array(nonNegativeInteger, { error: "limn needs a list of numbers" }).default([]),
  solver_p: z.undefined({ error: "limn supports UniPC's own predictor" }).optional(),
  /** Ends of respaced sigmas in place of those of training. */
  sigma_min: positive.optional(),
  sigma_max: positive.optional(),
  /** The last noise level of flow sigmas. */
  shift_terminal: share.optional(),
}

/** What the next step needs to correct where the last one arrived. */
interface Departure {
  readonly sample: Tensor<"float32">
  readonly order: number
}

/**
 * UniPC, multistep (Zhao 2023, "A Unified Predictor-Corrector Framework"; diffusers `UniPCMultistepScheduler`): each
 * step first corrects the one before with what the model says where that arrived, at no further call, then predicts
 * the next. The coefficients are in unipc-coefficients.ts.
 */
export function uniPcMultistep(json: unknown): Scheduler {
  const config = readConfig("UniPCMultistepScheduler", keys, json)
  checkSpacing(config)
  const { predict_x0: inX0, solver_type: type, solver_order: highestOrder } = config
  if (!inX0 && config.final_sigmas_type === "zero")
    throw new FormatError(
      'UniPC over epsilon cannot end at sigma 0; set "final_sigmas_type" to "sigma_min", or "predict_x0" to true.',
    )
  const table = sigmaTable(config)
  /** x0 or epsilon at the last steps, newest first. */
  let history: Tensor<"float32">[] = []
  let departure: Departure | undefined

  function step({ output, sample: arrived, index, steps, levelAt }: LogSnrStep): StepResult {
    const x0 = thresholdedX0(config, output, arrived, levelAt(index))
    const integrand = inX0 ? x0 : predictEpsilon(config.prediction_type, output, arrived, levelAt(index))
    const levels = (first: number, order: number) =>
      Array.from({ length: order + 1 }, (_, i) => levelAt(first - i))
    const terms = (weights: readonly number[]) => weights.map((weight, i) => [weight, history[i]] as const)

    let sample = arrived
    if (departure && !config.disable_corrector.includes(index - 1)) {
      const weights = uniPcWeights(type, inX0, levels(index, departure.order), "correct")
      sample = weightedSum(
        [weights.sample, departure.sample],
        [weights.arrival, integrand],
        ...terms(weights.integrands),
      )
    }
    history = [integrand, ...history].slice(0, highestOrder)
    const order = Math.min(history.length, highestOrderAt(index, steps, levelAt))
    departure = { sample, order }
    const weights = uniPcWeights(type, inX0, levels(index + 1, order), "predict")
    return {
      prevSample: weightedSum([weights.sample, sample], ...terms(weights.integrands)),
      predOriginalSample: x0,
    }
  }

  function highestOrderAt(index: number, steps: number, levelAt: LogSnrStep["levelAt"]): number {
    // Sigma 0 lies infinitely far in lambda, where no polynomial reaches; "sigma_min" may be where the step begins.
    const next = levelAt(index + 1)
    if (next.sigma === 0 || sameLevel(next, levelAt(index))) return 1
    return config.lower_order_final ? steps - index : highestOrder
  }

  return logSnrScheduler({
    config,
    table,
    takes: ["sigmas"],
    plan(walk) {
      history = []
      departure = undefined
      return plan(config, table, walk)
    },
    step,
  })
}

type Config = z.output<z.ZodObject<typeof keys>>

/** Timesteps and noise levels of a walk, highest first; timesteps that fall between two are still to be cut. */
function plan(config: Config, table: Float32Array, walk: AskedWalk): SigmaPlan {
  const n = table.length
  const { steps } = walk
  const planned = (timesteps: Float64Array, levels: Float64Array, lowest = levels[levels.length - 1]) => {
    const after = config.final_sigmas_type === "zero" ? 0 : lowest
    return { timesteps, sigmas: Float32Array.from([...levels, after]) }
  }
  const { sigma_max: highest = table[n - 1], sigma_min: lowest = table[0] } = config
  const respaced = respacedSigmas(config, highest, lowest, steps)
  if (respaced) checkNotGiven(walk)
  if (config.use_flow_sigmas) {
    const flow = respaced?.map((sigma) => sigma / (sigma + 1)) ?? flowSigmas(config, walk)
    const timesteps = flow.map((sigma) => sigma * n)
    return planned(timesteps, flow)
  }
  if (respaced) {
    const timesteps = respaced.map((sigma) => timestepOf(table, sigma))
    return planned(config.use_karras_sigmas ? timesteps.map(roundHalfEven) : timesteps, respaced)
  }
  if (walk.sigmas)
    throw new UsageError('UniPC takes sigmas with "use_flow_sigmas" only; give it a number of steps.')
  const timesteps = solverTimesteps(config, steps, n)
  return planned(
    timesteps,
    timesteps.map((t) => sigmaAt(table, t)),
    table[0],
  )
}

function flowSigmas(config: Config, { sigmas, steps }: AskedWalk): Float64Array {
  const given = sigmas ?? linspace(1, 1 / config.num_train_timesteps, steps + 1).subarray(0, steps)
  const levels = shiftSigmas(given, config.flow_shift, config.shift_terminal)
  // At sigma 1 nothing of x0 is left, and lambda is infinite.
  if (Math.abs(levels[0] - 1) < 1e-6) levels[0] -= 1e-6
  return levels
}
