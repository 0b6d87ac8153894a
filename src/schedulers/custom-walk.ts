import { UsageError } from "../ground/errors.ts"
import type { CustomWalk } from "./contract.ts"

/** What a walk is checked against. */
interface Trained {
  readonly num_train_timesteps: number
}

/** A walk as it was asked for, with the number of its steps. */
export type AskedWalk = CustomWalk & { readonly steps: number }

/**
 * What `setTimesteps` was asked for. `takes` names what the class can be given besides a number of steps.
 * Throws a UsageError for anything else, for a number of steps outside 1 to the training's, and for lists that are
 * empty, do not fall, or leave the range of training.
 */
export function readWalk(
  config: Trained & Readonly<Record<string, unknown>>,
  asked: number | CustomWalk,
  takes: readonly (keyof CustomWalk)[] = [],
): AskedWalk {
  const walk: CustomWalk = typeof asked === "number" ? { steps: asked } : asked
  for (const [key, value] of Object.entries(walk))
    if (value !== undefined && key !== "steps" && !takes.some((name) => name === key))
      throw new UsageError(`${config._class_name} takes no ${key}; give it a number of steps.`)
  const { steps, timesteps, sigmas, originalInferenceSteps } = walk
  const most = config.num_train_timesteps
  if (originalInferenceSteps !== undefined) checkSteps("originalInferenceSteps", originalInferenceSteps, most)
  const given = timesteps ?? sigmas
  if (given === undefined) {
    checkSteps("steps", steps ?? 0, most)
    return { ...walk, steps: steps ?? 0 }
  }
  if (steps !== undefined && steps !== given.length)
    throw new UsageError(`${steps} steps do not fit ${given.length} given ones; leave "steps" out.`)
  if (timesteps && sigmas && timesteps.length !== sigmas.length)
    throw new UsageError(`${timesteps.length} timesteps do not fit ${sigmas.length} sigmas.`)
  if (timesteps) checkFalling("timesteps", timesteps, most)
  if (sigmas) checkFalling("sigmas", sigmas, Number.MAX_VALUE)
  return { ...walk, steps: given.length }
}

/** Throws a UsageError where a walk was listed that the configuration spaces itself. */
export function checkNotGiven({ timesteps, sigmas }: AskedWalk): void {
  if (timesteps || sigmas)
    throw new UsageError(
      "The scheduler's configuration spaces sigmas itself; give a number of steps, or turn Karras, exponential, beta or Lu spacing off.",
    )
}

function checkSteps(name: string, steps: number, most: number): void {
  if (!Number.isInteger(steps) || steps < 1 || steps > most)
    throw new UsageError(`${steps} ${name} are not possible; choose a whole number from 1 to ${most}.`)
}

function checkFalling(name: string, values: readonly number[], most: number): void {
  const falls = values.every((value, i) => value >= 0 && value <= (i === 0 ? most : values[i - 1]))
  if (values.length === 0 || !falls || new Set(values).size < values.length) {
    const range = most === Number.MAX_VALUE ? "0 or more" : `from ${most} to 0`
    throw new UsageError(`The ${name} given do not fall; give numbers ${range}, highest first, each once.`)
  }
}
