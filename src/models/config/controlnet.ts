import { boolean, listOf, oneOf, positiveInteger, readConfig } from "./fields.ts"
import type { UNetEncoderConfig } from "./unet.ts"
import { unetEncoderConfig, unetEncoderJson } from "./unet.ts"

/**
 * Everything that the forward pass of diffusers `ControlNetModel` depends on: what it copies of a U-Net, and how it
 * reads its picture.
 */
export interface ControlNetConfig extends UNetEncoderConfig {
  /** Whether the middle attends and has two residual blocks; SDXL's smallest ControlNets have one block alone. */
  readonly middleAttends: boolean
  /** Order in which the picture's colours are read; pictures come in as red, green and blue. */
  readonly channelOrder: "rgb" | "bgr"
  /** Channels of the picture's embedding; each but the first halves its sides. */
  readonly conditioningWidths: readonly number[]
  /** Whether each residual is its mean over the picture, so that it tells of the style alone (the shuffle model). */
  readonly globalPool: boolean
}

/** Channels of the published ControlNets' embedding of a picture of so many pixels beside each latent, a power of 2. */
export function publishedConditioningWidths(latentPixels: number): readonly number[] {
  return [16, 32, 96, 256].slice(0, 1 + Math.log2(latentPixels))
}

const controlNetJson = unetEncoderJson.extend({
  mid_block_type: oneOf("UNetMidBlock2DCrossAttn", "UNetMidBlock2D").default("UNetMidBlock2DCrossAttn"),
  conditioning_channels: oneOf(3).default(3),
  controlnet_conditioning_channel_order: oneOf("rgb", "bgr").default("rgb"),
  conditioning_embedding_out_channels: listOf(positiveInteger).default([16, 32, 96, 256]),
  global_pool_conditions: boolean.default(false),
})

/**
 * The configuration of a diffusers `ControlNetModel` (SD 1.x, SDXL, Kolors) from its parsed config.json, whatever class
 * that names: Kolors' has other names. `source` names the file in errors. Unknown keys are ignored.
 * Throws a FormatError where a key is missing, malformed, contradicts another, or asks for what limn cannot run.
 */
export function controlNetConfig(json: unknown, source: string): ControlNetConfig {
  const raw = readConfig(controlNetJson, json, source, "ControlNetModel")
  return {
    ...unetEncoderConfig(raw, source),
    middleAttends: raw.mid_block_type === "UNetMidBlock2DCrossAttn",
    channelOrder: raw.controlnet_conditioning_channel_order,
    conditioningWidths: raw.conditioning_embedding_out_channels,
    globalPool: raw.global_pool_conditions,
  }
}
