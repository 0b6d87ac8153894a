import type { Tensor } from "../ground/tensor.ts"
import type { AutoencoderConfig } from "../models/config/autoencoder.ts"
import type { ClipTextConfig } from "../models/config/clip-text.ts"
import type { UNetConfig } from "../models/config/unet.ts"
import type { Device } from "../runtime/session.ts"
import type { Tokenizer } from "../tokenizers/clip-bpe.ts"
import type { Component } from "./component.ts"
import type { ModelDefaults } from "./defaults.ts"
import type { Network } from "./network.ts"

/** Numbers that the parts of a model compute in: float32, or float16 where that is safe. */
export type Precision = "fp32" | "fp16"

/**
 * What the denoiser reads beside the noisy latents and their noise level, by the denoiser's input names, one row for
 * each picture: for Stable Diffusion, `encoderHiddenStates` [B, T, D].
 */
export type Conditioning = Readonly<Record<string, Tensor<"float32">>>

/** What a model is loaded from, wherever it lies. */
export interface ModelParts {
  /** Its folder or file, absolute; errors name it. */
  readonly path: string
  readonly text: Component
  readonly unet: Component
  readonly vae: Component
  /** scheduler_config.json, parsed and not yet believed. */
  readonly schedulerConfig: unknown
  readonly tokenizer: Tokenizer
  readonly defaults: ModelDefaults
}

/** A text-to-image model of the Stable Diffusion 1.x family, as `load` returns it. */
export interface Model {
  /** Its folder or file, absolute. */
  readonly path: string
  readonly device: Device
  readonly precision: Precision
  readonly textConfig: ClipTextConfig
  readonly unetConfig: UNetConfig
  readonly vaeConfig: AutoencoderConfig
  /** scheduler_config.json, from which each run makes its own scheduler. */
  readonly schedulerConfig: unknown
  /** Pixels of the picture along each side of one latent: 8 for the published models. */
  readonly latentPixels: number
  /** Height and width in pixels of the pictures that it was trained on. */
  readonly size: readonly [height: number, width: number]
  /** What to do where options do not say. */
  readonly defaults: ModelDefaults
  readonly tokenizer: Tokenizer
  /** `ids` [1, T] int64 -> `state.0` ... `state.L` [1, T, D]: CLIP's last state with so many layers left out. */
  readonly textEncoder: Network
  /** `sample` [B, C, h, w], `timestep` [B] and the conditioning -> `output` [B, C, h, w]. */
  readonly unet: Network
  /** `latents` [1, C, h, w] -> `image` [1, 3, H, W], about [-1, 1]. */
  readonly decoder: Network
  /** Encoded prompts by their text and what was left out; each is [1, T, D]. */
  readonly encodings: Map<string, Promise<Tensor<"float32">>>
  /** Milliseconds that `load` took. */
  readonly loadMs: number
  /** Gives all memory back; runs in progress end first. */
  close(): Promise<void>
}
