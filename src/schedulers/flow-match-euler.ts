import { UsageError } from "../ground/errors.ts"
import { count, flag, oneOf, positive, readConfig, refused, share, sigmaSpacingKeys } from "./config.ts"
import type { Scheduler } from "./contract.ts"
import type { AskedWalk } from "./custom-walk.ts"
import { readWalk } from "./custom-walk.ts"
import { shiftSigmas } from "./flow-sigmas.ts"
import { noised, predictX0 } from "./prediction.ts"
import { checkSpacing, respacedSigmas } from "./sigma-spacing.ts"
import { linspace } from "./timesteps.ts"
import type { SigmaPlan } from "./walk.ts"
import { walkOver } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

const keys = {
  ...sigmaSpacingKeys,
  num_train_timesteps: count.default(1000),
  /** How far to move noise levels towards noise; 1 for not at all. */
  shift: positive.default(1),
  /** Move them by `mu` of `setTimesteps` instead. */
  use_dynamic_shifting: flag.default(false),
  /** "exponential": by e^mu; "linear": by mu. */
  time_shift_type: oneOf("exponential", "linear").default("exponential"),
  /** The last noise level before 0. */
  shift_terminal: share.optional(),
  /** Go to x0 and add new noise at every step, in place of a step along the flow. */
  stochastic_sampling: flag.default(false),
  invert_sigmas: refused("noise levels that fall"),
}

const f = Math.fround

/**
 * Euler's method for rectified flow (Liu 2022, Esser 2024; diffusers `FlowMatchEulerDiscreteScheduler`), whose models
 * predict v = epsilon - x0 for x = (1 - sigma) x0 + sigma epsilon, and are told sigma N for a timestep:
 *
 *   x' = x + (sigma' - sigma) v, or, where sampling is stochastic, (1 - sigma') x0 + sigma' noise
 */
export function flowMatchEuler(json: unknown): Scheduler {
  const config = readConfig("FlowMatchEulerDiscreteScheduler", keys, json)
  checkSpacing(config)
  const { num_train_timesteps: n, use_dynamic_shifting: dynamic } = config
  const even = linspace(1, n, n).map((t) => t / n)
  const all = shiftSigmas(even.reverse(), dynamic ? 1 : config.shift)
  const walk = walkOver(planOver(all), "refuse")
  const levelAt = (index: number) => {
    const sigma = walk.plan.sigmas[index]
    return { alpha: f(1 - sigma), sigma }
  }

  function planOver(levels: Float64Array, timesteps?: readonly number[]): SigmaPlan {
    const sigmas = Float32Array.from([...levels, 0])
    const told = timesteps ?? Array.from(sigmas.subarray(0, -1), (sigma) => sigma * n)
    return { timesteps: Float64Array.from(told, f), sigmas }
  }

  function plan({ steps, timesteps, sigmas, mu }: AskedWalk): SigmaPlan {
    if (dynamic && mu === undefined)
      throw new UsageError(
        "The scheduler shifts noise levels with the picture's size; give mu to setTimesteps.",
      )
    if (!dynamic && mu !== undefined)
      throw new UsageError(
        'The scheduler shifts noise levels as configured; leave mu out, or set "use_dynamic_shifting".',
      )
    // As in diffusers: the lowest level of training is already shifted, and is shifted again.
    const given = sigmas ?? timesteps?.map((t) => t / n) ?? linspace(all[0], all[n - 1], steps)
    const shift = mu === undefined ? config.shift : dynamicShift(mu)
    const levels = shiftSigmas(given, shift, config.shift_terminal)
    return planOver(respacedSigmas(config, levels[0], levels[steps - 1], steps) ?? levels, timesteps)
  }

  function dynamicShift(mu: number): number {
    return config.time_shift_type === "exponential" ? Math.exp(mu) : mu
  }

  return {
    config,
    order: 1,
    initNoiseSigma: 1,
    get timesteps() {
      return walk.plan.timesteps
    },
    setTimesteps: (asked) => walk.start(plan(readWalk(config, asked, ["timesteps", "sigmas", "mu"]))),
    setBeginIndex: walk.beginAt,
    scaleModelInput: (sample) => sample,
    step(output, timestep, sample, random) {
      const index = walk.index(timestep)
      const [from, to] = [levelAt(index), levelAt(index + 1)]
      const x0 = predictX0("flow_prediction", output, sample, from)
      const prevSample = config.stochastic_sampling
        ? noised(x0, random.randn(sample.shape), to)
        : weightedSum([1, sample], [f(to.sigma - from.sigma), output])
      walk.advance()
      return { prevSample, predOriginalSample: x0 }
    },
    addNoise: (original, noise, timesteps) => noised(original, noise, walk.indices(timesteps).map(levelAt)),
  }
}
