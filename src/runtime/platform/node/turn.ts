/**
 * Whose turn it is, in a number that two threads see: no native code runs, some does, or none may start again. A
 * process that exits stops its threads, and stopping one inside ONNX Runtime aborts the process: so an exit in the
 * middle of a run waits for the run's end. A signal does not wait: the system ends the process at once.
 */
const IDLE = 0
const RUNNING = 1
const ENDING = 2

export function newTurn(): Int32Array {
  return new Int32Array(new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT))
}

/** Does native work in its turn; does nothing once the process is ending. */
export async function inTurn(turn: Int32Array, work: () => Promise<void>): Promise<void> {
  if (Atomics.compareExchange(turn, 0, IDLE, RUNNING) === ENDING) return
  try {
    await work()
  } finally {
    Atomics.store(turn, 0, IDLE)
    Atomics.notify(turn, 0)
  }
}

/** Blocks until no native work runs, and lets none start. */
export function endTurns(turn: Int32Array): void {
  while (Atomics.compareExchange(turn, 0, IDLE, ENDING) === RUNNING) Atomics.wait(turn, 0, RUNNING)
}
