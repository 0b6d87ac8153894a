import { existsSync } from "node:fs"
import { UsageError } from "../ground/errors.ts"
import { train as runTraining } from "../training/train.ts"
import { formatDuration } from "./format.ts"
import { interruption } from "./interruption.ts"
import { shownPath } from "./places.ts"
import { progressOn } from "./progress.ts"

/**
 * Trains as a configuration file says. The first Ctrl-C stops after the step under way and saves, the second ends at
 * once; before the first step there is nothing to save. Throws a UsageError where there is no such file.
 */
export async function train(config: string): Promise<void> {
  if (!existsSync(config))
    throw new UsageError(`There is nothing at ${config}; give the JSON file that describes a training run.`)
  const progress = progressOn(process.stderr)
  let loss: number | undefined
  const stop = interruption(() => {
    progress.clear()
    if (loss === undefined) return 0
    process.stderr.write("Saving after this step; Ctrl-C again to stop without.\n")
    return Number.POSITIVE_INFINITY
  })
  const started = performance.now()
  progress.show({ label: "preparing" })
  const { step, steps, output, resumedAt, stopped } = await runTraining(config, {
    signal: stop.signal,
    onProgress: (task, done, total) =>
      progress.show(done < total ? { label: task, done, total } : { label: "preparing" }),
    onStep(row) {
      loss = row.loss
      if (stop.signal.aborted) return
      const note = `loss ${row.loss.toPrecision(3)}  ${row.samplesPerSecond.toFixed(1)} samples/s`
      progress.show({ label: "training", done: row.step, total: row.steps, note })
    },
  }).finally(() => progress.clear())

  const folder = shownPath(output)
  if (stopped) {
    process.stderr.write(`Stopped at step ${step} of ${steps}; the same command goes on from there.\n`)
    return stop.end()
  }
  if (step === resumedAt) console.log(`${folder}  all ${steps} steps were done before`)
  else {
    const time = formatDuration(performance.now() - started)
    console.log(`${folder}  ${step} of ${steps} steps, loss ${loss?.toPrecision(3)}, ${time}`)
  }
}
