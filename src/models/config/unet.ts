import { z } from "../../ground/schema.ts"
import {
  boolean,
  checkDivides,
  expand,
  finiteNumber,
  keyError,
  listOf,
  oneOf,
  perBlock,
  positiveInteger,
  positiveNumber,
  readConfig,
  sampleSize,
  wholeNumber,
} from "./fields.ts"

/** What is added to the time embedding, beside the noise level itself. */
export type AdditionEmbed =
  /** A pooled reading of the text sequence itself: diffusers `TextTimeEmbedding` over width `inputDim`. */
  | { readonly type: "text"; readonly inputDim: number; readonly heads: number }
  /** SDXL: pooled text and sinusoids (`timeDim` wide) of the size ids, concatenated to `inputDim`. */
  | { readonly type: "text_time"; readonly inputDim: number; readonly timeDim: number }

/**
 * Everything that the way down and the middle of a U-Net depend on, which a ControlNet has copies of.
 * Lists have one entry for each resolution, outermost first, as the down blocks meet them; the middle block
 * takes the last entry and the up blocks read the lists backwards.
 */
export interface UNetEncoderConfig {
  readonly inChannels: number
  /** Cosines before sines in the sinusoids of the noise level. */
  readonly flipSinToCos: boolean
  readonly freqShift: number
  /** Width of the time embedding: 4 x the first block's channels where the file does not say. */
  readonly timeEmbedDim: number
  readonly downBlockTypes: readonly ("CrossAttnDownBlock2D" | "DownBlock2D")[]
  readonly blockOutChannels: readonly number[]
  /** Residual blocks at each resolution on the way down; the way up has one more. */
  readonly layersPerBlock: readonly number[]
  readonly transformerLayersPerBlock: readonly number[]
  /** Heads, not their width: diffusers' `attention_head_dim` means this where `num_attention_heads` is null. */
  readonly attentionHeads: readonly number[]
  readonly crossAttentionDim: readonly number[]
  /** The first attention of a transformer block also reads the text. The middle block never does this. */
  readonly onlyCrossAttention: readonly boolean[]
  /** Transformer projections are linear layers on [B, HW, C] rather than 1x1 convolutions on [B, C, H, W]. */
  readonly useLinearProjection: boolean
  /** Attention scores are computed in float32 in half-precision models. */
  readonly upcastAttention: boolean
  readonly normNumGroups: number
  /** Epsilon of the residual blocks' and the last group norm; the transformers' group norm has 1e-6. */
  readonly normEps: number
  /** Width of the text before `encoder_hid_proj` (Kolors: 4096), or null where there is no such layer. */
  readonly encoderHidDim: number | null
  readonly additionEmbed: AdditionEmbed | null
}

/** Everything that the forward pass of diffusers `UNet2DConditionModel` depends on, with its defaults filled in. */
export interface UNetConfig extends UNetEncoderConfig {
  /** Height and width of the latents that the model was trained on. */
  readonly sampleSize: readonly [height: number, width: number] | null
  readonly outChannels: number
  readonly upBlockTypes: readonly ("CrossAttnUpBlock2D" | "UpBlock2D")[]
}

/** Keys that U-Nets and ControlNets have in common. */
export const unetEncoderJson = z.object({
  in_channels: positiveInteger,
  flip_sin_to_cos: boolean.default(true),
  freq_shift: finiteNumber.default(0),
  down_block_types: listOf(oneOf("CrossAttnDownBlock2D", "DownBlock2D")),
  only_cross_attention: perBlock(boolean, "true or false").default(false),
  block_out_channels: listOf(positiveInteger),
  layers_per_block: perBlock(positiveInteger, "a positive integer").default(2),
  downsample_padding: oneOf(1).default(1),
  mid_block_scale_factor: oneOf(1).default(1),
  act_fn: oneOf("silu", "swish").default("silu"),
  norm_num_groups: positiveInteger.default(32),
  norm_eps: positiveNumber.default(1e-5),
  cross_attention_dim: perBlock(positiveInteger, "a positive integer"),
  transformer_layers_per_block: perBlock(wholeNumber, "0 or a positive integer").default(1),
  encoder_hid_dim: positiveInteger.nullable().default(null),
  encoder_hid_dim_type: oneOf(null, "text_proj").default(null),
  attention_head_dim: perBlock(positiveInteger, "a positive integer").default(8),
  num_attention_heads: perBlock(positiveInteger, "a positive integer").nullable().default(null),
  use_linear_projection: boolean.default(false),
  class_embed_type: oneOf(null).default(null),
  num_class_embeds: oneOf(null).default(null),
  addition_embed_type: oneOf(null, "text", "text_time").default(null),
  addition_embed_type_num_heads: positiveInteger.default(64),
  addition_time_embed_dim: positiveInteger.nullable().default(null),
  projection_class_embeddings_input_dim: positiveInteger.nullable().default(null),
  upcast_attention: boolean.nullable().default(false),
  resnet_time_scale_shift: oneOf("default").default("default"),
  time_embedding_dim: positiveInteger.nullable().default(null),
})

type UNetEncoderJson = z.output<typeof unetEncoderJson>

const unetJson = unetEncoderJson.extend({
  sample_size: sampleSize.nullish(),
  out_channels: positiveInteger,
  center_input_sample: oneOf(false).default(false),
  mid_block_type: oneOf("UNetMidBlock2DCrossAttn").default("UNetMidBlock2DCrossAttn"),
  up_block_types: listOf(oneOf("CrossAttnUpBlock2D", "UpBlock2D")),
  reverse_transformer_layers_per_block: oneOf(null).default(null),
  dual_cross_attention: oneOf(false).default(false),
  class_embeddings_concat: oneOf(false).default(false),
  resnet_skip_time_act: oneOf(false).default(false),
  resnet_out_scale_factor: oneOf(1).default(1),
  time_embedding_type: oneOf("positional").default("positional"),
  time_embedding_act_fn: oneOf(null).default(null),
  timestep_post_act: oneOf(null).default(null),
  time_cond_proj_dim: oneOf(null).default(null),
  conv_in_kernel: oneOf(3).default(3),
  conv_out_kernel: oneOf(3).default(3),
  attention_type: oneOf("default").default("default"),
  cross_attention_norm: oneOf(null).default(null),
})

/**
 * The configuration of a diffusers `UNet2DConditionModel` (SD 1.x, SDXL, Kolors, inpainting) from its parsed
 * config.json; `source` names that file in errors. Unknown keys are ignored.
 * Throws a FormatError where a key is missing, malformed, contradicts another, or asks for what limn cannot run.
 */
export function unetConfig(json: unknown, source: string): UNetConfig {
  const raw = readConfig(unetJson, json, source, "UNet2DConditionModel")
  const blocks = raw.block_out_channels.length
  const upBlockTypes = expand(raw.up_block_types, blocks, "up_block_types", source)
  // The way up has the heads of the way down, backwards.
  const attending = upBlockTypes.map((_, i) => upBlockTypes[blocks - 1 - i] === "CrossAttnUpBlock2D")
  return {
    ...unetEncoderConfig(raw, source, attending),
    sampleSize: raw.sample_size ?? null,
    outChannels: raw.out_channels,
    upBlockTypes,
  }
}

/**
 * What the keys say that U-Nets and ControlNets have in common; `attending` tells of each resolution whether something
 * beside the way down and the middle attends there. Throws as `unetConfig` does.
 */
export function unetEncoderConfig(
  raw: UNetEncoderJson,
  source: string,
  attending: readonly boolean[] = [],
): UNetEncoderConfig {
  const blocks = raw.block_out_channels.length
  const spread = <T>(key: keyof UNetEncoderJson, value: T | readonly T[]) =>
    expand(value, blocks, key, source)
  const config: UNetEncoderConfig = {
    inChannels: raw.in_channels,
    flipSinToCos: raw.flip_sin_to_cos,
    freqShift: raw.freq_shift,
    timeEmbedDim: raw.time_embedding_dim ?? 4 * raw.block_out_channels[0],
    downBlockTypes: spread("down_block_types", raw.down_block_types),
    blockOutChannels: raw.block_out_channels,
    layersPerBlock: spread("layers_per_block", raw.layers_per_block),
    transformerLayersPerBlock: spread("transformer_layers_per_block", raw.transformer_layers_per_block),
    attentionHeads: spread(headsKey(raw), raw.num_attention_heads ?? raw.attention_head_dim),
    crossAttentionDim: spread("cross_attention_dim", raw.cross_attention_dim),
    onlyCrossAttention: spread("only_cross_attention", raw.only_cross_attention),
    useLinearProjection: raw.use_linear_projection,
    upcastAttention: raw.upcast_attention ?? false,
    normNumGroups: raw.norm_num_groups,
    normEps: raw.norm_eps,
    encoderHidDim: raw.encoder_hid_dim,
    additionEmbed: additionEmbed(raw, source),
  }
  checkWidths(config, attending, raw, source)
  return config
}

const headsKey = (raw: UNetEncoderJson) =>
  raw.num_attention_heads === null ? "attention_head_dim" : "num_attention_heads"

function additionEmbed(raw: UNetEncoderJson, source: string): AdditionEmbed | null {
  const type = raw.addition_embed_type
  if (type === null) return null
  if (type === "text") {
    // diffusers pools the text as it comes in, before `encoder_hid_proj`.
    const inputDim = raw.encoder_hid_dim ?? [raw.cross_attention_dim].flat()[0]
    const heads = raw.addition_embed_type_num_heads
    checkDivides(heads, inputDim, "the text's width", "addition_embed_type_num_heads", source)
    return { type, inputDim, heads }
  }
  const width = (key: "addition_time_embed_dim" | "projection_class_embeddings_input_dim") => {
    const dim = raw[key]
    if (dim === null)
      throw keyError(source, key, dim, `"addition_embed_type" "text_time" needs a width there`)
    return dim
  }
  return {
    type,
    inputDim: width("projection_class_embeddings_input_dim"),
    timeDim: width("addition_time_embed_dim"),
  }
}

/** Throws a FormatError where widths do not go together: groups and heads with channels, projections with the text. */
function checkWidths(
  config: UNetEncoderConfig,
  attending: readonly boolean[],
  raw: UNetEncoderJson,
  source: string,
): void {
  const deepest = config.blockOutChannels.length - 1
  config.blockOutChannels.forEach((channels, i) => {
    const what = `the channels of block ${i}`
    checkDivides(config.normNumGroups, channels, what, "norm_num_groups", source)
    const attends = config.downBlockTypes[i] === "CrossAttnDownBlock2D" || attending[i] || i === deepest
    if (attends) checkDivides(config.attentionHeads[i], channels, what, headsKey(raw), source)
  })
  if (raw.encoder_hid_dim_type !== null && raw.encoder_hid_dim === null)
    throw keyError(source, "encoder_hid_dim", null, '"encoder_hid_dim_type" "text_proj" needs a width there')
  const oneWidth = config.encoderHidDim !== null || config.additionEmbed?.type === "text"
  if (oneWidth && new Set(config.crossAttentionDim).size > 1)
    throw keyError(
      source,
      "cross_attention_dim",
      raw.cross_attention_dim,
      "this configuration reads the text at one width for all blocks",
    )
}
