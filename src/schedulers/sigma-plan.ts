import type { AskedWalk } from "./custom-walk.ts"
import { checkNotGiven } from "./custom-walk.ts"
import type { SigmaSpacing } from "./sigma-spacing.ts"
import { respacedSigmas, sigmaAt, timestepOf } from "./sigma-spacing.ts"
import type { TimestepSpacing } from "./timesteps.ts"
import { fractionalTimesteps } from "./timesteps.ts"
import type { SigmaPlan } from "./walk.ts"

/** The keys that decide timesteps and sigmas of Euler, LMS and Heun. */
interface SigmaPlanning extends TimestepSpacing, SigmaSpacing {
  readonly sigma_min?: number
  readonly sigma_max?: number
}

/**
 * Timesteps and sigmas of a walk of Euler, LMS or Heun, with `after` behind the last step: sigmas of the timesteps
 * (`levelsOf` them, or straight lines in the table), then spaced anew between their ends where the configuration asks.
 * Throws a UsageError where that meets timesteps that were given.
 */
export function sigmaPlan(
  config: SigmaPlanning,
  table: Float32Array,
  walk: AskedWalk,
  after: number,
  levelsOf: (timesteps: Float64Array) => Float64Array = (timesteps) =>
    timesteps.map((t) => sigmaAt(table, t)),
): SigmaPlan {
  const { steps, timesteps: given } = walk
  const timesteps = given ? Float64Array.from(given, Math.fround) : fractionalTimesteps(config, steps)
  const levels = levelsOf(timesteps)
  const respaced = respacedSigmas(
    config,
    config.sigma_max ?? levels[0],
    config.sigma_min ?? levels[levels.length - 1],
    steps,
  )
  if (respaced === undefined) return { timesteps, sigmas: Float32Array.from([...levels, after]) }
  checkNotGiven(walk)
  return {
    timesteps: respaced.map((sigma) => Math.fround(timestepOf(table, sigma))),
    sigmas: Float32Array.from([...respaced, after]),
  }
}
