import { input } from "../../graph/node.ts"
import { add, meanSquaredError, mul, reshape, sub } from "../../graph/ops/index.ts"
import type { Value } from "../../graph/value.ts"
import type { Weights } from "../../graph/weights.ts"
import { float32, type Tensor } from "../../ground/tensor.ts"
import type { UNetConfig } from "../../models/config/unet.ts"
import type { UNetInputs } from "../../models/unet.ts"
import { unet } from "../../models/unet.ts"
import type { CaptionIds } from "../caption-ids.ts"
import type { CaptionStates } from "../caption-states.ts"
import type { Objective } from "../trainer.ts"

/** What a denoiser learns from. */
export interface DenoisingData {
  /** Scaled latents [count, C, h, w]. */
  readonly latents: Tensor<"float32">
  readonly captions: CaptionIds
  readonly states: CaptionStates
  /** Share of the signal that is left at each training step (MODELS: ā). */
  readonly alphasCumprod: Float32Array
  /** What the denoiser says: the noise, or the velocity sqrt(ā) noise - sqrt(1 - ā) x (Salimans & Ho 2022). */
  readonly prediction: "epsilon" | "v_prediction"
}

/** How samples are drawn. */
export interface DenoisingOptions {
  readonly batchSize: number
  /** Share of captions replaced by the empty one, which guidance needs. */
  readonly conditionDropout: number
  /**
   * Above 1, noisier steps come up more often: u in [0, 1) becomes s u / (1 + (s - 1) u) (Esser et al. 2024, equation
   * 23); 1 (the default) draws all steps alike.
   */
  readonly timestepShift?: number
}

/** What says of noisy latents what is noise in them, over the weights that are learnt. */
export interface Denoiser {
  predict(inputs: UNetInputs, weights: Weights): Value
  /** Feeds of its own, for the pictures of these numbers. */
  beside?(pictures: readonly number[]): Readonly<Record<string, Tensor>>
}

/** Noise is added to latents at a random step and the UNet is told the text (Ho et al. 2020, Rombach et al. 2022). */
export function denoising(data: DenoisingData, config: UNetConfig, options: DenoisingOptions): Objective {
  return denoisingBy(data, { predict: (inputs, weights) => unet(inputs, weights, config) }, options)
}

/** The same for any denoiser. */
export function denoisingBy(
  { latents, captions, states, alphasCumprod, prediction }: DenoisingData,
  denoiser: Denoiser,
  { batchSize, conditionDropout, timestepShift = 1 }: DenoisingOptions,
): Objective {
  const [count, ...each] = latents.shape
  const size = each.reduce((n, d) => n * d, 1)
  const shape = [batchSize, ...each]
  return {
    loss(weights) {
      const clean = input("clean", "float32", shape)
      const noise = input("noise", "float32", shape)
      const signal = reshape(input("signal", "float32", [batchSize]), [batchSize, 1, 1, 1])
      const spread = reshape(input("spread", "float32", [batchSize]), [batchSize, 1, 1, 1])
      const timestep = input("timestep", "float32", [batchSize])
      const text = input("text", "float32", [batchSize, ...states.shape])
      const sample = add(mul(signal, clean), mul(spread, noise))
      const target = prediction === "epsilon" ? noise : sub(mul(signal, noise), mul(spread, clean))
      const predicted = denoiser.predict({ sample, timestep, encoderHiddenStates: text }, weights)
      return meanSquaredError(predicted, target)
    },
    async batch(random) {
      const chosen = random.randint(0, count, [batchSize]).data
      const steps = Array.from(random.rand([batchSize]).data, (u) =>
        Math.floor((alphasCumprod.length * timestepShift * u) / (1 + (timestepShift - 1) * u)),
      )
      const dropped = random.rand([batchSize]).data
      const clean = new Float32Array(batchSize * size)
      const told: number[] = []
      for (let n = 0; n < batchSize; n++) {
        const i = Number(chosen[n])
        clean.set(latents.data.subarray(i * size, (i + 1) * size), n * size)
        const drawn = captions.draw(i, random)
        told.push(dropped[n] < conditionDropout ? 0 : drawn)
      }
      const kept = steps.map((t) => alphasCumprod[t])
      return {
        clean: float32(shape, clean),
        noise: random.randn(shape),
        signal: float32([batchSize], kept.map(Math.sqrt)),
        spread: float32(
          [batchSize],
          kept.map((a) => Math.sqrt(1 - a)),
        ),
        timestep: float32([batchSize], steps),
        text: await states.of(told),
        ...denoiser.beside?.(Array.from(chosen, Number)),
      }
    },
  }
}
