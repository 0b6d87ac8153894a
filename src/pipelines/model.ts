import type { Weights } from "../graph/weights.ts"
import type { Pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { AutoencoderConfig } from "../models/config/autoencoder.ts"
import type { ControlNetConfig } from "../models/config/controlnet.ts"
import type { UNetConfig } from "../models/config/unet.ts"
import type { TextAttention } from "../models/ip-adapter.ts"
import type { IpScale } from "../models/ip-scale.ts"
import type { Device } from "../runtime/session.ts"
import type { TextPrecision } from "./chatglm-blocks.ts"
import type { Component } from "./component.ts"
import type { ModelDefaults } from "./defaults.ts"
import type { FaceModelPlaces } from "./face-models.ts"
import type { Family } from "./family.ts"
import type { HubOptions } from "./hub-model.ts"
import type { Network, NetworkOptions } from "./network.ts"
import type { PreviewFactors } from "./preview-factors.ts"
import type { SafetyChecker, SafetyCheckerFiles } from "./safety-checker.ts"
import type { TextEncoder, TextParts } from "./text-encoder.ts"
import type { Usage } from "./usage.ts"

/**
 * Numbers that the parts of a model compute in: float32; float16 where that is safe; or integers of eight bits in the
 * layers of the denoiser and the decoder that bear it, and float32 in the rest.
 */
export type Precision = "fp32" | "fp16" | "int8"

/**
 * What the denoiser reads beside the noisy latents and their noise level, by the denoiser's input names, one row for
 * each picture: `encoderHiddenStates` [B, T, D], for SDXL and Kolors `textEmbeds` [B, P] and `timeIds` [B, 6], and what its
 * IP-Adapters look at.
 */
export type Conditioning = Readonly<Record<string, Tensor<"float32">>>

/** What a model is loaded from, wherever it lies. */
export interface ModelParts {
  /** Its folder or file, absolute; errors name it. */
  readonly path: string
  readonly family: Family
  /** The text encoders in the family's order, each with its tokenizer. */
  readonly texts: readonly TextParts[]
  readonly unet: Component
  readonly vae: Component
  /** Where it has one, and it is wanted. */
  readonly safetyChecker?: SafetyCheckerFiles
  /** scheduler_config.json, parsed and not yet believed. */
  readonly schedulerConfig: unknown
  readonly defaults: ModelDefaults
  /** Whether no negative prompt at all is zeros, in place of the encoded empty text. */
  readonly zeroNegative: boolean
}

/** A LoRA to give to a model. */
export interface Lora {
  readonly kind: "lora"
  readonly path: string
  /** Default: what the model's family says. */
  readonly scale?: number
}

/** A LoRA that a model has. */
export interface LoadedLora extends Lora {
  readonly scale: number
  /** Its file's name without the ending, as web tools call it. */
  readonly name: string
  /** The parts of the model that it changes, and those of them that it changes wholly whatever its scale. */
  readonly parts: readonly string[]
  readonly wholeParts: readonly string[]
  /** Words that were taught with it, as a textual inversion, which limn does not read yet. */
  readonly words: readonly string[]
}

/** A ControlNet to give to a model. */
export interface ControlNet extends HubOptions {
  readonly kind: "controlnet"
  readonly path: string
}

/** A ControlNet that a model has. */
export interface LoadedControlNet {
  /** Its name on the Hub, or that of its folder, or of its file without the ending. */
  readonly name: string
  readonly config: ControlNetConfig
  /**
   * `sample` [B, C, h, w], `timestep` [B], the denoiser's conditioning, `picture` [1, 3, H, W] in [0, 1] and `scales`
   * [residuals] -> `residual.0` and so on: what the denoiser takes under these names.
   */
  readonly network: Network
}

/** An IP-Adapter to give to a model. */
export interface IpAdapter extends HubOptions {
  readonly kind: "ip-adapter"
  readonly path: string
  /** Default: what the model's family says. */
  readonly scale?: IpScale
  /** The folder of its image encoder, where that is not known from its own place. */
  readonly imageEncoder?: string
  /** Where insightface's networks are, for an adapter that reads faces. */
  readonly faceModels?: FaceModelPlaces
}

/** What an IP-Adapter looks at. */
export interface SeenImage {
  readonly image: Pixels
  /** Which of its faces, where the adapter reads faces: 0 (the default) is the largest. */
  readonly face?: number
}

/** An IP-Adapter that a model has. */
export interface LoadedIpAdapter {
  /** Its file's name without the ending. */
  readonly name: string
  /** Its file, and the folder of its image encoder where it has one, absolute. */
  readonly path: string
  readonly imageEncoder: string | undefined
  readonly scale: IpScale
  /** The attentions that it widens, in its order. */
  readonly attentions: readonly TextAttention[]
  /** Where insightface's networks are, where it reads the faces in pictures; else undefined. */
  readonly faceModels: FaceModelPlaces | undefined
  /** Images as the tokens that the U-Net attends to, each [1, T, D]; undefined is no image, for guidance. */
  readTokens(images: readonly (SeenImage | undefined)[]): Promise<readonly Tensor<"float32">[]>
}

/** What can be given to a model that is loaded. */
export type Addition = Lora | ControlNet | IpAdapter

/** A text-to-image model, as `load` returns it. */
export interface Model {
  /** Its name on the Hub, or that of its folder or file. */
  readonly name: string
  /** Its folder or file, absolute. */
  readonly path: string
  readonly device: Device
  readonly precision: Precision
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
  /** The same for single verbs and for what is added to it. */
  readonly usage: Usage
  /** One, or two whose states the denoiser reads side by side (SDXL). */
  readonly textEncoders: readonly TextEncoder[]
  /** What the matrices of ChatGLM are kept in, where that was asked. */
  readonly textPrecision: TextPrecision | undefined
  /** How many of the text encoders' last layers can be left out. */
  readonly mostClipSkip: number
  /** Whether no negative prompt at all is zeros, in place of the encoded empty text. */
  readonly zeroNegative: boolean
  /** `sample` [B, C, h, w], `timestep` [B], the conditioning and any residuals -> `output` [B, C, h, w]. */
  readonly unet: Network
  /** The layer that the U-Net projects texts by, for one graph, where it does (Kolors). */
  readonly textProjection: (() => Weights) | undefined
  /** `image` [1, 3, H, W] in [-1, 1] -> `moments` [1, 2 C, h, w]: means before logarithms of variances, unscaled. */
  readonly encoder: Network
  /** `latents` [1, C, h, w] -> `image` [1, 3, H, W], about [-1, 1]. */
  readonly decoder: Network
  /** The file or folder of TAESD that the decoder is, in place of the model's own, absolute. */
  readonly decoderPath: string | undefined
  /** What looks at the pictures that verbs draw, where the checkpoint has it and it is wanted. */
  readonly safetyChecker: SafetyChecker | undefined
  /** What `linearPreview` shows latents by, where that is known. */
  readonly preview: PreviewFactors | undefined
  /** Encoded prompts by their text and how it was read, one row each. */
  readonly encodings: Map<string, Promise<Conditioning>>
  /** What it was given beside its checkpoint, in order. */
  readonly loras: readonly LoadedLora[]
  /** Those that every walk follows, in the order of their pictures. */
  readonly controlNets: readonly LoadedControlNet[]
  /** In the order in which they were given. */
  readonly ipAdapters: readonly LoadedIpAdapter[]
  /** How its networks run, for those that are added to it. */
  readonly running: NetworkOptions
  /** Milliseconds that `load` took. */
  readonly loadMs: number
  /**
   * A new model with these LoRAs, ControlNets and IP-Adapters beside those that this one has; a LoRA or an IP-Adapter that
   * it has already takes the new scale, and graphs that do not change are shared. This model stays as it is, and each of
   * the two is closed by itself.
   * Throws a UsageError where there is nothing at a path, a FormatError where what is there is not made for this model.
   */
  with(...additions: readonly Addition[]): Promise<Model>
  /** Gives all memory back; runs in progress end first. */
  close(): Promise<void>
}
