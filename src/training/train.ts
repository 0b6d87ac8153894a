import { absolutePath } from "#platform"
import { UsageError } from "../ground/errors.ts"
import { cpuGenerator } from "../ground/random/cpu-generator.ts"
import { readJson } from "../pipelines/files.ts"
import { type TrainingConfig, trainingConfig } from "./config.ts"
import { openDataset } from "./dataset.ts"
import type { LossRow } from "./loss-chart.ts"
import { resumeRun, saveRun } from "./run-files.ts"
import { openStage, type PreparationProgress } from "./stages.ts"
import { trainerState, trainSteps } from "./trainer.ts"

/** What a caller of `train` may follow and stop. */
export interface TrainOptions {
  /** Called after every optimizer step. */
  readonly onStep?: (row: LossRow & { readonly steps: number; readonly samplesPerSecond: number }) => void
  /** Called while pictures are prepared, before the first step. */
  readonly onProgress?: PreparationProgress
  /** Stops after the step under way; the run is saved first. */
  readonly signal?: AbortSignal
}

/** How a call of `train` ended. */
export interface TrainResult {
  /** Steps that the run has done, earlier calls included. */
  readonly step: number
  readonly steps: number
  /** Where the state, the losses and what was learnt are. */
  readonly output: string
  /** The step that the run was resumed at, 0 for a new one. */
  readonly resumedAt: number
}

/**
 * Trains as a JSON file says, from where its output folder stands: a run that was stopped, or killed, goes on from its
 * last save. Paths in the file count from the file's own folder.
 * Throws a UsageError where the file is wrong, a LimnError where data or weights are missing or broken.
 */
export async function train(configPath: string, options: TrainOptions = {}): Promise<TrainResult> {
  const path = absolutePath(configPath)
  const config = placed(trainingConfig(await readJson(path), path), absolutePath(path, ".."))
  const images = await openDataset(config.data)
  try {
    if (config.batchSize > images.count)
      throw new UsageError(
        `${path}: "batchSize" is ${config.batchSize} and there are ${images.count} pictures; take fewer.`,
      )
    const stage = await openStage(config, images, options.onProgress ?? (() => {}))
    const random = cpuGenerator(config.seed)
    const fresh = trainerState(await stage.initial(random), random)
    const { state, losses } = (await resumeRun(config.output, fresh)) ?? { state: fresh, losses: [] }
    const resumedAt = state.optimizer.step

    const save = async () => {
      await saveRun(config.output, state, losses)
      await stage.save(state.average)
    }
    const before = losses.at(-1)?.seconds ?? 0
    const started = performance.now()
    let saved = started
    for await (const step of trainSteps(stage.objective, state, config)) {
      const seconds = (performance.now() - started) / 1000
      losses.push({ ...step, seconds: before + seconds })
      const samplesPerSecond = ((step.step - resumedAt) * config.batchSize * config.accumulation) / seconds
      options.onStep?.({ ...step, seconds: before + seconds, steps: config.steps, samplesPerSecond })
      if (options.signal?.aborted) break
      if (performance.now() - saved > config.saveMinutes * 60_000) {
        await save()
        saved = performance.now()
      }
    }
    await save()
    return { step: state.optimizer.step, steps: config.steps, output: config.output, resumedAt }
  } finally {
    images.close()
  }
}

function placed(config: TrainingConfig, folder: string): TrainingConfig {
  const place = (path: string) => absolutePath(folder, path)
  return { ...config, model: place(config.model), data: place(config.data), output: place(config.output) }
}
