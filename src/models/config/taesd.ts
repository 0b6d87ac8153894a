import { z } from "../../ground/schema.ts"
import {
  keyError,
  listOf,
  oneOf,
  positiveInteger,
  positiveNumber,
  readConfig,
  wholeNumber,
} from "./fields.ts"

/** Everything that the forward pass of diffusers `AutoencoderTiny` depends on, with its defaults filled in. */
export interface TaesdConfig {
  readonly inChannels: number
  readonly outChannels: number
  readonly latentChannels: number
  /** Width of the encoder at all resolutions. */
  readonly encoderChannels: number
  /** Width of the decoder at all resolutions. */
  readonly decoderChannels: number
  /** Blocks at each resolution, outermost first; each after the first halves the size. */
  readonly encoderBlocks: readonly number[]
  /** Blocks at each resolution, innermost first; each after the first doubles the size. */
  readonly decoderBlocks: readonly number[]
  /** What the encoder gives = latents of the diffusion model / scalingFactor. */
  readonly scalingFactor: number
}

const blocks = listOf(wholeNumber)
const widths = listOf(positiveInteger)

const taesdJson = z.object({
  in_channels: positiveInteger.default(3),
  out_channels: positiveInteger.default(3),
  latent_channels: positiveInteger.default(4),
  encoder_block_out_channels: widths.default([64, 64, 64, 64]),
  decoder_block_out_channels: widths.default([64, 64, 64, 64]),
  num_encoder_blocks: blocks.default([1, 3, 3, 3]),
  num_decoder_blocks: blocks.default([3, 3, 3, 1]),
  act_fn: oneOf("relu").default("relu"),
  upsample_fn: oneOf("nearest").default("nearest"),
  upsampling_scaling_factor: oneOf(2).default(2),
  scaling_factor: positiveNumber.default(1),
  shift_factor: oneOf(0).default(0),
})

/**
 * The configuration of a diffusers `AutoencoderTiny` from its parsed config.json; `source` names that file in errors.
 * Unknown keys are ignored; what is missing is as TAESD has it.
 * Throws a FormatError where a key is malformed, contradicts another, or asks for what limn cannot run.
 */
export function taesdConfig(json: unknown, source: string): TaesdConfig {
  const raw = readConfig(taesdJson, json, source, "AutoencoderTiny")
  for (const half of ["encoder", "decoder"] as const) {
    const [key, counts] = [`${half}_block_out_channels`, `num_${half}_blocks`] as const
    const [width] = raw[key]
    // diffusers makes layers of different widths, but cannot run them.
    if (raw[key].length !== raw[counts].length || raw[key].some((other) => other !== width))
      throw keyError(source, key, raw[key], `limn needs one width, once for each of "${counts}"`)
  }
  return {
    inChannels: raw.in_channels,
    outChannels: raw.out_channels,
    latentChannels: raw.latent_channels,
    encoderChannels: raw.encoder_block_out_channels[0],
    decoderChannels: raw.decoder_block_out_channels[0],
    encoderBlocks: raw.num_encoder_blocks,
    decoderBlocks: raw.num_decoder_blocks,
    scalingFactor: raw.scaling_factor,
  }
}
