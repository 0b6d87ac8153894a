import type { AdditionEmbed, UNetConfig, UNetEncoderConfig } from "../config/unet.ts"
import { conv2d, linear, norm, normal, repeat, resample, resnetBlock } from "./layers.ts"
import type { Module, ParameterSpec } from "./module.ts"
import { parametersOf } from "./module.ts"

/** Every tensor of a diffusers `UNet2DConditionModel` of this configuration, in the order of its state dict. */
export function unetParameters(config: UNetConfig): ParameterSpec[] {
  const { blockOutChannels: channels } = config
  const { down_blocks, mid_block, ...embeddings } = unetEncoder(config)
  return parametersOf({
    ...embeddings,
    down_blocks,
    up_blocks: repeat(channels.length, (i) => upBlock(config, i)),
    mid_block,
    conv_norm_out: norm(channels[0]),
    conv_out: conv2d(channels[0], config.outChannels, 3),
  })
}

/** The way down and the middle of a U-Net, and what they read; the middle of some ControlNets is one residual block. */
export function unetEncoder(config: UNetEncoderConfig, { middleAttends = true } = {}) {
  const { blockOutChannels: channels, timeEmbedDim, encoderHidDim, additionEmbed } = config
  const last = channels.length - 1
  return {
    conv_in: conv2d(config.inChannels, channels[0], 3),
    time_embedding: timestepEmbedding(channels[0], timeEmbedDim),
    encoder_hid_proj: encoderHidDim === null ? undefined : linear(encoderHidDim, config.crossAttentionDim[0]),
    add_embedding: additionEmbed === null ? undefined : addEmbedding(additionEmbed, timeEmbedDim),
    down_blocks: repeat(channels.length, (i) => downBlock(config, i)),
    mid_block: {
      attentions: middleAttends ? [transformer(config, last, channels[last], false)] : undefined,
      resnets: repeat(middleAttends ? 2 : 1, () => resnetBlock(channels[last], channels[last], timeEmbedDim)),
    },
  } satisfies Module
}

/** diffusers `TimestepEmbedding`. */
function timestepEmbedding(inputDim: number, timeEmbedDim: number): Module {
  return { linear_1: linear(inputDim, timeEmbedDim), linear_2: linear(timeEmbedDim, timeEmbedDim) }
}

function addEmbedding(embed: AdditionEmbed, timeEmbedDim: number): Module {
  const dim = embed.inputDim
  if (embed.type === "text_time") return timestepEmbedding(dim, timeEmbedDim)
  // diffusers `TextTimeEmbedding` around `AttentionPooling`.
  return {
    norm1: norm(dim),
    pool: {
      positional_embedding: normal([1, dim], 1 / Math.sqrt(dim)),
      k_proj: linear(dim, dim),
      q_proj: linear(dim, dim),
      v_proj: linear(dim, dim),
    },
    proj: linear(dim, timeEmbedDim),
    norm2: norm(timeEmbedDim),
  }
}

function downBlock(config: UNetEncoderConfig, i: number): Module {
  const { blockOutChannels: channels, layersPerBlock, timeEmbedDim } = config
  const crosses = config.downBlockTypes[i] === "CrossAttnDownBlock2D"
  const incoming = channels[Math.max(i - 1, 0)]
  return {
    attentions: crosses
      ? repeat(layersPerBlock[i], () => transformer(config, i, channels[i], config.onlyCrossAttention[i]))
      : undefined,
    resnets: repeat(layersPerBlock[i], (j) =>
      resnetBlock(j === 0 ? incoming : channels[i], channels[i], timeEmbedDim),
    ),
    downsamplers: i < channels.length - 1 ? resample(channels[i]) : undefined,
  }
}

/** Up block `u`, at the resolution of down block `count - 1 - u`; its residual blocks also read the skips. */
function upBlock(config: UNetConfig, u: number): Module {
  const { blockOutChannels: channels, layersPerBlock, timeEmbedDim } = config
  const i = channels.length - 1 - u
  const layers = layersPerBlock[i] + 1
  const below = channels[Math.min(i + 1, channels.length - 1)]
  const above = channels[Math.max(i - 1, 0)]
  const crosses = config.upBlockTypes[u] === "CrossAttnUpBlock2D"
  return {
    attentions: crosses
      ? repeat(layers, () => transformer(config, i, channels[i], config.onlyCrossAttention[i]))
      : undefined,
    resnets: repeat(layers, (j) => {
      const incoming = j === 0 ? below : channels[i]
      const skip = j === layers - 1 ? above : channels[i]
      return resnetBlock(incoming + skip, channels[i], timeEmbedDim)
    }),
    upsamplers: u < channels.length - 1 ? resample(channels[i]) : undefined,
  }
}

/** diffusers `Transformer2DModel` at resolution `i`. */
function transformer(config: UNetEncoderConfig, i: number, channels: number, onlyCross: boolean): Module {
  const projection = () =>
    config.useLinearProjection ? linear(channels, channels) : conv2d(channels, channels, 1)
  const textDim = config.crossAttentionDim[i]
  return {
    norm: norm(channels),
    proj_in: projection(),
    transformer_blocks: repeat(config.transformerLayersPerBlock[i], () => ({
      norm1: norm(channels),
      attn1: attention(channels, onlyCross ? textDim : channels),
      norm2: norm(channels),
      attn2: attention(channels, textDim),
      norm3: norm(channels),
      // GEGLU: values and gates come from one layer; index 1 is a dropout.
      ff: { net: [{ proj: linear(channels, 8 * channels) }, undefined, linear(4 * channels, channels)] },
    })),
    proj_out: projection(),
  }
}

/** diffusers `Attention` of queries `channels` wide over a context `contextDim` wide. */
function attention(channels: number, contextDim: number): Module {
  return {
    to_q: linear(channels, channels, { bias: false }),
    to_k: linear(contextDim, channels, { bias: false }),
    to_v: linear(contextDim, channels, { bias: false }),
    to_out: [linear(channels, channels)],
  }
}
