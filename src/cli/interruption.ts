/** Signals that ask a process to end, and what shells call their exit codes: 128 + the signal's number. */
const exitCodes = { SIGINT: 130, SIGTERM: 143, SIGHUP: 129 } as const
type Ending = keyof typeof exitCodes

/** How work can be stopped from outside. */
export interface Interruption {
  /** Aborted at the first signal. */
  readonly signal: AbortSignal
  /** Runs work that a signal must not cut in two, such as writing a file. */
  protect<T>(work: () => Promise<T>): Promise<T>
  /** Ends the process as the signal asked, once protected work is done; called where the work has stopped. */
  end(): Promise<never>
}

/**
 * Listens for Ctrl-C and its kin. At the first one `signal` aborts, and `onFirst` says how long the work may take to
 * stop; after that time, or at the second signal, the process ends wherever it is.
 */
export function interruption(onFirst: () => number): Interruption {
  const controller = new AbortController()
  let by: Ending = "SIGINT"
  let protectedWork: Promise<unknown> = Promise.resolve()

  const die = async () => {
    await protectedWork.catch(() => {})
    // By the signal itself: to exit would wait until ONNX Runtime has finished what it runs.
    for (const name of Object.keys(exitCodes) as Ending[]) process.removeAllListeners(name)
    process.kill(process.pid, by)
  }
  const receive = (name: Ending) => {
    if (controller.signal.aborted) return void die()
    by = name
    controller.abort()
    const patience = onFirst()
    if (patience < Number.POSITIVE_INFINITY) setTimeout(die, patience).unref()
  }
  for (const name of Object.keys(exitCodes) as Ending[]) process.on(name, receive)

  return {
    signal: controller.signal,
    protect(work) {
      const running = work()
      protectedWork = running
      return running
    },
    async end() {
      await protectedWork.catch(() => {})
      process.exit(exitCodes[by])
    },
  }
}
