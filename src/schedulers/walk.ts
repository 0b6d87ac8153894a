import { UsageError } from "../ground/errors.ts"

/** Every timestep of training, N - 1 to 0: a scheduler's `timesteps` before it is told how many steps to take. */
export function trainingTimesteps(n: number): Float64Array {
  return Float64Array.from({ length: n }, (_, i) => n - 1 - i)
}

/** All of training as a plan: `table` holds sigma for t from 0 to N - 1. */
export function trainingPlan(table: Float32Array): SigmaPlan {
  return {
    timesteps: trainingTimesteps(table.length),
    sigmas: Float32Array.from([...table.toReversed(), 0]),
  }
}

/** What a step before `setTimesteps` throws. */
export function unplanned(): UsageError {
  return new UsageError("The scheduler does not know how many steps to take; call setTimesteps first.")
}

/** What a step at a timestep throws that is not on the plan. */
export function offPlan(timestep: number): UsageError {
  return new UsageError(
    `Timestep ${timestep} is not one of this walk's; pass an entry of scheduler.timesteps.`,
  )
}

/** Where a walk goes. */
export interface Plan {
  /** [n], highest first. */
  readonly timesteps: Float64Array
}

/** Where a walk goes that reckons in noise levels. */
export interface SigmaPlan extends Plan {
  /** [n + 1]: the noise level before each step, and after the last one. */
  readonly sigmas: Float32Array
}

/** The plan of a walk down the noise levels, and where on it the walk stands. */
export interface Walk<P extends Plan> {
  readonly plan: P
  /** Goes to the beginning of another plan. */
  start(plan: P): void
  beginAt(index: number): void
  /**
   * The index of the step about to be taken. Timesteps may repeat, so the first call alone looks `timestep` up.
   * Throws a UsageError before `start`, after the last step, and where the timestep is not on the plan.
   */
  index(timestep: number): number
  /** To be called when a step is done. */
  advance(): void
  /**
   * The index of each row's timestep for adding noise. Once the walk has a beginning it is where the walk stands,
   * whatever the timesteps: so image-to-image and repainting start exactly on the plan.
   */
  indices(timesteps: readonly number[]): number[]
}

/**
 * A walk whose plan, until another is made, is `initial`. `elsewhere` says what becomes of a timestep that is not on
 * the plan: an error, or the last step.
 */
export function walkOver<P extends Plan>(initial: P, elsewhere: "refuse" | "last"): Walk<P> {
  let plan = initial
  let planned = false
  let begin: number | undefined
  let current: number | undefined

  function find(timestep: number): number {
    const first = plan.timesteps.indexOf(timestep)
    // Of a repeated timestep the second, as in diffusers, so that a walk beginning there skips no noise level.
    // But a walk from the top begins at the top: diffusers runs off the end where the first timestep is repeated.
    const second = plan.timesteps.indexOf(timestep, first + 1)
    if (first >= 0) return first > 0 && second > 0 ? second : first
    if (elsewhere === "last") return plan.timesteps.length - 1
    throw offPlan(timestep)
  }

  return {
    get plan() {
      return plan
    },
    start(next) {
      plan = next
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
      const { length } = plan.timesteps
      if (current >= length)
        throw new UsageError(`All ${length} steps are taken; call setTimesteps to start again.`)
      return current
    },
    advance() {
      if (current !== undefined) current++
    },
    indices: (at) => at.map((timestep) => (begin === undefined ? find(timestep) : (current ?? begin))),
  }
}
