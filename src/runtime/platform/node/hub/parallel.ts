/**
 * Does work for every item, `lanes` of them at a time, each with a signal that aborts with the caller's and at the
 * first failure. Ends when all that began has ended; then throws the first failure, or the caller's reason to abort.
 */
export async function inParallel<T>(
  items: readonly T[],
  lanes: number,
  work: (item: T, signal: AbortSignal) => Promise<void>,
  outer?: AbortSignal,
): Promise<void> {
  const failure = new AbortController()
  const signal = outer === undefined ? failure.signal : AbortSignal.any([outer, failure.signal])
  const queue = items.values()
  const lane = async () => {
    try {
      for (const item of queue) {
        signal.throwIfAborted()
        await work(item, signal)
      }
    } catch (error) {
      failure.abort(error)
    }
  }
  await Promise.all(Array.from({ length: lanes }, lane))
  signal.throwIfAborted()
}
