import { z } from "../../ground/schema.ts"
import {
  boolean,
  checkDivides,
  checkLength,
  finiteNumber,
  listOf,
  oneOf,
  positiveInteger,
  positiveNumber,
  readConfig,
  sampleSize,
} from "./fields.ts"

/** Everything that the forward pass of diffusers `AutoencoderKL` depends on, with its defaults filled in. */
export interface AutoencoderConfig {
  /** Height and width of the pictures that the model was trained on. */
  readonly sampleSize: readonly [height: number, width: number]
  readonly inChannels: number
  readonly outChannels: number
  readonly latentChannels: number
  /** Channels at each resolution, outermost first; each after the first halves the size. */
  readonly blockOutChannels: readonly number[]
  /** Residual blocks at each resolution of the encoder; the decoder has one more. */
  readonly layersPerBlock: number
  readonly normNumGroups: number
  readonly midBlockAddAttention: boolean
  readonly useQuantConv: boolean
  readonly usePostQuantConv: boolean
  /** Latents of the diffusion model = (encoded - shiftFactor) x scalingFactor. */
  readonly scalingFactor: number
  readonly shiftFactor: number
  /** One mean and one deviation for each latent channel, used in place of the shift where present. */
  readonly latentsMean: readonly number[] | null
  readonly latentsStd: readonly number[] | null
  /** The published weights overflow in float16: SDXL and Kolors run them in float32. */
  readonly forceUpcast: boolean
}

const autoencoderJson = z.object({
  sample_size: sampleSize.default([32, 32]),
  in_channels: positiveInteger.default(3),
  out_channels: positiveInteger.default(3),
  latent_channels: positiveInteger,
  down_block_types: listOf(oneOf("DownEncoderBlock2D")),
  up_block_types: listOf(oneOf("UpDecoderBlock2D")),
  block_out_channels: listOf(positiveInteger),
  layers_per_block: positiveInteger.default(1),
  act_fn: oneOf("silu", "swish").default("silu"),
  norm_num_groups: positiveInteger.default(32),
  scaling_factor: positiveNumber.default(0.18215),
  shift_factor: finiteNumber.nullable().default(null),
  latents_mean: z.array(finiteNumber).nullable().default(null),
  latents_std: z.array(finiteNumber).nullable().default(null),
  force_upcast: boolean.default(true),
  use_quant_conv: boolean.default(true),
  use_post_quant_conv: boolean.default(true),
  mid_block_add_attention: boolean.default(true),
})

/**
 * The configuration of a diffusers `AutoencoderKL` from its parsed config.json; `source` names that file in
 * errors. Unknown keys are ignored.
 * Throws a FormatError where a key is missing, malformed, contradicts another, or asks for what limn cannot run.
 */
export function autoencoderConfig(json: unknown, source: string): AutoencoderConfig {
  const raw = readConfig(autoencoderJson, json, source, "AutoencoderKL")
  for (const key of ["down_block_types", "up_block_types"] as const)
    checkLength(raw[key], raw.block_out_channels.length, "block", key, source)
  raw.block_out_channels.forEach((channels, i) => {
    checkDivides(raw.norm_num_groups, channels, `the channels of block ${i}`, "norm_num_groups", source)
  })
  for (const key of ["latents_mean", "latents_std"] as const) {
    const values = raw[key]
    if (values !== null) checkLength(values, raw.latent_channels, "latent channel", key, source)
  }
  return {
    sampleSize: raw.sample_size,
    inChannels: raw.in_channels,
    outChannels: raw.out_channels,
    latentChannels: raw.latent_channels,
    blockOutChannels: raw.block_out_channels,
    layersPerBlock: raw.layers_per_block,
    normNumGroups: raw.norm_num_groups,
    midBlockAddAttention: raw.mid_block_add_attention,
    useQuantConv: raw.use_quant_conv,
    usePostQuantConv: raw.use_post_quant_conv,
    scalingFactor: raw.scaling_factor,
    shiftFactor: raw.shift_factor ?? 0,
    latentsMean: raw.latents_mean,
    latentsStd: raw.latents_std,
    forceUpcast: raw.force_upcast,
  }
}
