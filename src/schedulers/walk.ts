import { UsageError } from "../ground/errors.ts"

/** Every timestep of training, N - 1 to 0: a scheduler's `timesteps` before it is told how many steps to take. */
export function trainingTimesteps(n: number): Float64Array {
  return Float64Array.from({ length: n }, (_, i) => n - 1 - i)
}

/** What a step before `setTimesteps` throws. */
export function unplanned(): UsageError {
  return new UsageError("The scheduler does not know how many steps to take; call setTimesteps first.")
}

/** The plan of a walk down the noise levels, and where on it the walk stands. */
export interface SigmaWalk {
  /** [n], highest first. */
  readonly timesteps: Float64Array
  /** [n + 1]: the noise level before each step, and after the last one. */
  readonly sigmas: Float32Array
  /** Plans a new walk. */
  plan(timesteps: Float64Array, sigmas: Float32Array): void
  beginAt(index: number): void
  /**
   * The index of the step about to be taken. Timesteps may repeat, so the first call alone looks `timestep` up.
   * Throws a UsageError before `plan`, after the last step, and where the timestep is not on the plan.
   */
  index(timestep: number): number
  /** To be called when a step is done. */
  advance(): void
  /**
   * The noise level of each row's timestep for adding noise. Once the walk has a beginning it is the level where
   * the walk stands, whatever the timesteps: so image-to-image and repainting start exactly on the plan.
   */
  sigmasAt(timesteps: readonly number[]): number[]
}

/**
 * A walk whose plan, until another is made, is all of training: `table` holds sigma for t from 0 to N - 1.
 * `offPlan` says what becomes of a timestep that is not on the plan: an error, or the last step.
 */
export function sigmaWalk(table: Float32Array, offPlan: "refuse" | "last"): SigmaWalk {
  let timesteps: Float64Array = trainingTimesteps(table.length)
  let sigmas: Float32Array = Float32Array.from([...table.toReversed(), 0])
  let planned = false
  let begin: number | undefined
  let current: number | undefined

  function find(timestep: number): number {
    const first = timesteps.indexOf(timestep)
    // Of a repeated timestep the second, as in diffusers, so that a walk beginning there skips no noise level.
    // But a walk from the top begins at the top: diffusers runs off the end where the first timestep is repeated.
    const second = timesteps.indexOf(timestep, first + 1)
    if (first >= 0) return first > 0 && second > 0 ? second : first
    if (offPlan === "last") return timesteps.length - 1
    throw new UsageError(
      `Timestep ${timestep} is not one of this walk's; pass an entry of scheduler.timesteps.`,
    )
  }

  return {
    get timesteps() {
      return timesteps
    },
    get sigmas() {
      return sigmas
    },
    plan(nextTimesteps, nextSigmas) {
      timesteps = nextTimesteps
      sigmas = nextSigmas
      planned = true
      begin = undefined
      current = undefined
    },
    beginAt(index) {
      begin = index
    },
    index(timestep) {
      if (!planned) throw unplanned()
      current ??= begin ?? find(timestep)
      if (current >= timesteps.length)
        throw new UsageError(`All ${timesteps.length} steps are taken; call setTimesteps to start again.`)
      return current
    },
    advance() {
      if (current !== undefined) current++
    },
    sigmasAt: (at) => at.map((timestep) => sigmas[begin === undefined ? find(timestep) : (current ?? begin)]),
  }
}
