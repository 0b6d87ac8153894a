import type { RandomSource } from "../ground/random/source.ts"
import type { Tensor } from "../ground/tensor.ts"

/** What one step of denoising gives. */
export interface StepResult {
  /** The sample at the next, lower noise level: what the model sees next. */
  readonly prevSample: Tensor<"float32">
  /** The clean sample that the model's output stands for at this step, for previews. */
  readonly predOriginalSample: Tensor<"float32">
}

/** A walk that is more than a number of steps. Each class takes some of it. Names as in diffusers' `set_timesteps`. */
export interface CustomWalk {
  /** How many steps; not needed where they are listed. */
  readonly steps?: number
  /** Timesteps to visit, highest first. DDPM, Euler, Heun, DPM-Solver multistep, LCM, TCD, flow matching. */
  readonly timesteps?: readonly number[]
  /**
   * Noise levels to visit, highest first. Euler, where the last one is what the last step reaches; flow matching and
   * UniPC on flow sigmas, where that is 0, and where the levels are shifted as the configuration says.
   */
  readonly sigmas?: readonly number[]
  /**
   * LCM: how many steps of training the model was distilled on; default: the configuration's. TCD: any number says
   * that steps may be taken anywhere, rather than where the model was distilled.
   */
  readonly originalInferenceSteps?: number
  /** Flow matching with `use_dynamic_shifting`: how far to shift the noise levels, by the picture's size. */
  readonly mu?: number
}

/** Settings of single algorithms; the others ignore them. Names as in diffusers' `step`. */
export interface StepOptions {
  /**
   * DDIM: how much of DDPM's noise to add, 0 (none, the default) to 1 (all). TCD: how far below the next noise level
   * to go before noise is added (gamma in its paper), 0 (no noise) to 1; default 0.3.
   */
  readonly eta?: number
  /** Euler and EDM Euler: noise added over the whole walk before its steps (Karras 2022, S_churn); default 0. */
  readonly sChurn?: number
  /** Euler and EDM Euler: lowest sigma at which to add it; default 0. */
  readonly sTmin?: number
  /** Euler and EDM Euler: highest sigma at which to add it; default infinity. */
  readonly sTmax?: number
  /** Euler and EDM Euler: factor on it; default 1. */
  readonly sNoise?: number
}

/**
 * A walk from noise to a clean sample, in diffusers' shape:
 *
 *   scheduler.setTimesteps(steps)
 *   x = noise x scheduler.initNoiseSigma
 *   for t of scheduler.timesteps:
 *     output = model(scheduler.scaleModelInput(x, t), t)
 *     x = scheduler.step(output, t, x, random).prevSample
 *
 * Samples are `[B, ...]`, latents or pixels. A scheduler has state between steps; one denoising at a time.
 */
export interface Scheduler {
  /** The JSON that makes this scheduler again, with every default written out. */
  readonly config: Readonly<Record<string, unknown>>
  /** What to tell the model before each call, highest first; before `setTimesteps`, every step of training. */
  readonly timesteps: ArrayLike<number>
  /** Deviation of the noise that the walk starts from. */
  readonly initNoiseSigma: number
  /** How many entries of `timesteps` make one step of the user's count (but the last, where it is one). */
  readonly order: number
  /**
   * Plans a walk of so many steps, or of those given, and forgets the last one. Throws a UsageError outside 1 to the
   * training's steps, and for what the class does not take.
   */
  setTimesteps(walk: number | CustomWalk): void
  /** Says at which index of `timesteps` the walk begins: image-to-image skips the first ones. */
  setBeginIndex(index: number): void
  /** The sample as the model wants it at a timestep. */
  scaleModelInput(sample: Tensor<"float32">, timestep: number): Tensor<"float32">
  /**
   * One step towards the clean sample; `timestep` is the next entry of `timesteps`.
   * Throws a UsageError before `setTimesteps`, where the timestep is not on the walk, and, by schedulers that
   * count their steps, after the last one.
   */
  step(
    modelOutput: Tensor<"float32">,
    timestep: number,
    sample: Tensor<"float32">,
    random: RandomSource,
    options?: StepOptions,
  ): StepResult
  /** Clean samples with noise at the level of each row's timestep. */
  addNoise(
    original: Tensor<"float32">,
    noise: Tensor<"float32">,
    timesteps: readonly number[],
  ): Tensor<"float32">
}
