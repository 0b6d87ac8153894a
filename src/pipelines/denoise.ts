import type { RandomSource } from "../ground/random/source.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import { deepChannels } from "../models/unet.ts"
import type { Scheduler } from "../schedulers/scheduler.ts"
import { mapResiduals, outermost } from "./controls.ts"
import type { Model } from "./model.ts"
import type { OpenNetwork } from "./network.ts"
import type { ControlledWalk, OpenControls } from "./open-controls.ts"
import { openControls } from "./open-controls.ts"
import type { DenoiserGraphs, GuidedWalk } from "./prediction.ts"
import { contextOf, contextOfRun, predictor } from "./prediction.ts"
import { rowsOf, withChannels } from "./rows.ts"

/** Latents that a walk returns to wherever a mask says so: inpainting with a model of no channels for it. */
export interface Held {
  /** Clean [B, C, h, w]. */
  readonly original: Tensor<"float32">
  /** What stands for their noise at every level [B, C, h, w]. */
  readonly noise: Tensor<"float32">
  /** 1 where the walk is free, 0 where it is held [B, 1, h, w]. */
  readonly mask: Tensor<"float32">
}

/** What one walk from noise to latents needs. */
export interface DenoiseOptions extends ControlledWalk, GuidedWalk {
  /**
   * Where the walk begins [B, C, h, w]: N(0, 1) x `initNoiseSigma`, or clean latents with the noise of the first step
   * that is walked.
   */
  readonly latents: Tensor<"float32">
  /** Steps of the scheduler's that are left out at the beginning, 0 (the default) unless latents are not pure noise. */
  readonly firstStep?: number
  /** What the model sees beside the latents at every step [B, C2, h, w]: the channels of inpainting models. */
  readonly extraChannels?: Tensor<"float32">
  readonly held?: Held
  /** After `setTimesteps`. */
  readonly scheduler: Scheduler
  /** Where schedulers that add noise draw it from. */
  readonly random: RandomSource
  /** DDIM and TCD: how much noise to add at each step, 0 to 1; default: the scheduler's. */
  readonly eta?: number
  /** Ends the walk before or after the model's next run, which itself cannot be stopped. */
  readonly signal?: AbortSignal
}

/** One step of a walk, when it is done. */
export interface DenoiseStep {
  /** From 1 to `steps`. */
  readonly step: number
  /** Runs of the model in the whole walk; some schedulers take more than the number asked for. */
  readonly steps: number
  /** The noise level that the model was told, in steps of training. */
  readonly timestep: number
  /** The latents after the step [B, C, h, w]. */
  readonly latents: Tensor<"float32">
  /** The clean latents that the model sees at this point, for previews [B, C, h, w]. */
  readonly predOriginalSample: Tensor<"float32">
}

/**
 * Walks from noise to clean latents, a step at a time: the caller owns progress, previews and stopping. The last
 * step's latents are the result. Draws nothing but what the scheduler draws.
 * Rejects with the signal's reason once that is aborted, and with a LimnError where the model fails.
 */
export async function* denoise(
  model: Model,
  options: DenoiseOptions,
): AsyncGenerator<DenoiseStep, void, undefined> {
  const { scheduler, random, eta, signal, firstStep = 0 } = options
  const timesteps = Array.from(scheduler.timesteps).slice(firstStep * scheduler.order)
  scheduler.setBeginIndex(firstStep * scheduler.order)
  let { latents } = options
  signal?.throwIfAborted()
  const { graphs, controls, release } = await openDenoiser(model, options)
  const predict = predictor(graphs, options)
  try {
    for (const [i, timestep] of timesteps.entries()) {
      signal?.throwIfAborted()
      const scaled = scheduler.scaleModelInput(latents, timestep)
      const residuals = await controls?.residuals(scaled, timestep, i, timesteps.length)
      signal?.throwIfAborted()
      const seen = withChannels(scaled, options.extraChannels)
      const prediction = await predict(seen, timestep, residuals, i, timesteps.length)
      signal?.throwIfAborted()
      const { prevSample, predOriginalSample } = scheduler.step(prediction, timestep, latents, random, {
        eta,
      })
      latents = options.held ? hold(prevSample, options.held, scheduler, timesteps[i + 1]) : prevSample
      yield { step: i + 1, steps: timesteps.length, timestep, latents, predOriginalSample }
    }
  } finally {
    release()
  }
}

/** The walk's own latents where the mask is 1, and the held ones at the level of the next step where it is 0. */
function hold(
  free: Tensor<"float32">,
  { original, noise, mask }: Held,
  scheduler: Scheduler,
  next: number | undefined,
): Tensor<"float32"> {
  const [rows, channels, ...places] = free.shape
  const size = places.reduce((n, d) => n * d, 1)
  const held =
    next === undefined ? original : scheduler.addNoise(original, noise, new Array<number>(rows).fill(next))
  const data = free.data.map((value, i) => {
    const m = mask.data[Math.floor(i / (channels * size)) * size + (i % size)]
    return (1 - m) * held.data[i] + m * value
  })
  return float32(free.shape, data)
}

/** What decides the types of the denoiser's inputs. */
type Walk = ControlledWalk & GuidedWalk & Pick<DenoiseOptions, "latents" | "extraChannels">

/** The graphs of a walk. */
export interface OpenDenoiser {
  readonly graphs: DenoiserGraphs
  readonly controls: OpenControls | undefined
  release(): void
}

/** The graphs of the denoiser, and of the ControlNets that it follows, loaded ahead of such a walk, until released. */
export async function openDenoiser(model: Model, walk: Walk): Promise<OpenDenoiser> {
  const [, channels, ...places] = walk.latents.shape
  const seen = channels + (walk.extraChannels?.shape[1] ?? 0)
  const context = contextOfRun(walk)
  const rows = context.encoderHiddenStates.shape[0]
  const controls = walk.controls?.length ? await openControls(model, walk, contextOf(walk)) : undefined
  let whole: OpenNetwork | undefined
  try {
    const inputs = {
      sample: { dtype: "float32", shape: [rows, seen, ...places] },
      timestep: { dtype: "float32", shape: [rows] },
      ...context,
    } as const
    const residuals = controls && mapResiduals(controls.none, (none) => rowsOf(none, 0, rows))
    whole = await model.unet.open({ ...inputs, ...residuals })
    const deep = { dtype: "float32", shape: [rows, deepChannels(model.unetConfig), ...places] } as const
    const shallow =
      (walk.cacheInterval ?? 1) > 1
        ? await model.unet.open({ ...inputs, ...(residuals && outermost(residuals)), deep })
        : undefined
    const graphs: DenoiserGraphs = { whole, shallow }
    const release = () => {
      graphs.whole.release()
      shallow?.release()
      controls?.release()
    }
    return { graphs, controls, release }
  } catch (error) {
    whole?.release()
    controls?.release()
    throw error
  }
}
