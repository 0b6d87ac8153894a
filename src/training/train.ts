import { absolutePath } from "#platform"
import { UsageError } from "../ground/errors.ts"
import { cpuGenerator } from "../ground/random/cpu-generator.ts"
import { readJson } from "../pipelines/files.ts"
import { type TrainingConfig, trainingConfig } from "./config.ts"
import { openDataset } from "./dataset.ts"
import type { LossRow } from "./loss-chart.ts"
import { resumeRun, saveRun } from "./run-files.ts"
import { openStage, type PreparationProgress, type Stage } from "./stages.ts"
import { DivergenceError, type TrainingStep, trainerState, trainSteps } from "./trainer.ts"

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
  /** Whether the signal stopped it before its last step. */
  readonly stopped: boolean
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
    try {
      return await runStage(stage, config, options)
    } finally {
      await stage.close?.()
    }
  } finally {
    images.close()
  }
}

async function runStage(stage: Stage, config: TrainingConfig, options: TrainOptions): Promise<TrainResult> {
  const random = cpuGenerator(config.seed)
  const fresh = trainerState(await stage.initial(random), random)
  const { state, losses } = (await resumeRun(config.output, fresh)) ?? { state: fresh, losses: [] }
  const resumedAt = state.optimizer.step
  const before = losses.at(-1)?.seconds ?? 0
  const started = performance.now()
  const isStopped = () => options.signal?.aborted === true && state.optimizer.step < config.steps

  let saved = { step: resumedAt, at: started }
  const save = async () => {
    // The state first: a run that is killed here goes on from it, and writes the model's parts at its next save.
    await saveRun(config.output, state, losses)
    await stage.save(state.average)
    saved = { step: state.optimizer.step, at: performance.now() }
  }
  const follow = (step: TrainingStep) => {
    const seconds = (performance.now() - started) / 1000
    const row = { ...step, seconds: before + seconds }
    losses.push(row)
    const samplesPerSecond = ((step.step - resumedAt) * config.batchSize * config.accumulation) / seconds
    options.onStep?.({ ...row, steps: config.steps, samplesPerSecond })
  }

  try {
    if (!isStopped())
      for await (const step of trainSteps(stage.objective, state, config)) {
        follow(step)
        if (isStopped()) break
        if (performance.now() - saved.at > config.saveMinutes * 60_000) await save()
      }
  } catch (error) {
    // Whatever failed, the steps before it stand, unless they led to where no number is left.
    if (!(error instanceof DivergenceError) && state.optimizer.step > saved.step) await save()
    throw error
  }
  // A finished run is saved again, in case it was killed between its state and the model's parts.
  if (state.optimizer.step > saved.step || state.optimizer.step >= config.steps) await save()
  const { step } = state.optimizer
  return { step, steps: config.steps, output: config.output, resumedAt, stopped: isStopped() }
}

function placed(config: TrainingConfig, folder: string): TrainingConfig {
  const place = (path: string) => absolutePath(folder, path)
  return { ...config, model: place(config.model), data: place(config.data), output: place(config.output) }
}
