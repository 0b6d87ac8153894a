import { setTimeout as sleep } from "node:timers/promises"
import { LimnError } from "../../../../ground/errors.ts"

/** A failure that may not come again: a connection that was cut, a server that is busy. */
export class PassingError extends LimnError {
  /** How long the server asks to wait. */
  readonly waitMs?: number

  constructor(message: string, { waitMs, ...options }: ErrorOptions & { readonly waitMs?: number } = {}) {
    super(message, options)
    this.waitMs = waitMs
  }
}

/** Asking again after longer than this is for people to decide. */
const MAX_WAIT_MS = 120_000

/** How long to go on with work that fails. */
export interface Patience {
  /** Failures in a row until it is given up. */
  readonly tries: number
  readonly signal?: AbortSignal
  /** Whether the last try brought the work forward, which starts the count anew. */
  readonly progressed?: () => boolean
}

/**
 * Does work again where it fails in passing. It waits as long as the server asks; else not at all after a try that
 * brought it forward, and a second, two, four after others.
 */
export async function patiently<T>(
  work: () => Promise<T>,
  { tries, signal, progressed = () => false }: Patience,
): Promise<T> {
  for (let failures = 0; ; ) {
    try {
      return await work()
    } catch (error) {
      if (!(error instanceof PassingError)) throw error
      failures = progressed() ? 0 : failures + 1
      const waitMs = error.waitMs ?? (failures === 0 ? 0 : 1000 * 2 ** (failures - 1))
      if (failures >= tries || waitMs > MAX_WAIT_MS) throw error
      await sleep(waitMs, undefined, { signal })
    }
  }
}
