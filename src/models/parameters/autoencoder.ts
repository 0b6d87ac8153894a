import type { AutoencoderConfig } from "../config/autoencoder.ts"
import { conv2d, linear, norm, repeat, resample, resnetBlock } from "./layers.ts"
import type { Module, ParameterSpec } from "./module.ts"
import { parametersOf } from "./module.ts"

/** Every tensor of a diffusers `AutoencoderKL` of this configuration, in the order of its state dict. */
export function autoencoderParameters(config: AutoencoderConfig): ParameterSpec[] {
  const latent = config.latentChannels
  return parametersOf({
    encoder: encoder(config),
    decoder: decoder(config),
    // Mean and log-variance together are twice as wide as the latents.
    quant_conv: config.useQuantConv ? conv2d(2 * latent, 2 * latent, 1) : undefined,
    post_quant_conv: config.usePostQuantConv ? conv2d(latent, latent, 1) : undefined,
  })
}

function encoder({ blockOutChannels: channels, ...config }: AutoencoderConfig): Module {
  const inner = channels[channels.length - 1]
  return {
    conv_in: conv2d(config.inChannels, channels[0], 3),
    down_blocks: channels.map((out, i) => ({
      resnets: repeat(config.layersPerBlock, (j) =>
        resnetBlock(j === 0 ? channels[Math.max(i - 1, 0)] : out, out),
      ),
      downsamplers: i < channels.length - 1 ? resample(out) : undefined,
    })),
    mid_block: midBlock(inner, config.midBlockAddAttention),
    conv_norm_out: norm(inner),
    conv_out: conv2d(inner, 2 * config.latentChannels, 3),
  }
}

function decoder({ blockOutChannels, ...config }: AutoencoderConfig): Module {
  const channels = blockOutChannels.toReversed()
  const outer = channels[channels.length - 1]
  return {
    conv_in: conv2d(config.latentChannels, channels[0], 3),
    up_blocks: channels.map((out, i) => ({
      resnets: repeat(config.layersPerBlock + 1, (j) =>
        resnetBlock(j === 0 ? channels[Math.max(i - 1, 0)] : out, out),
      ),
      upsamplers: i < channels.length - 1 ? resample(out) : undefined,
    })),
    mid_block: midBlock(channels[0], config.midBlockAddAttention),
    conv_norm_out: norm(outer),
    conv_out: conv2d(outer, config.outChannels, 3),
  }
}

/** diffusers `UNetMidBlock2D`, with one attention head as wide as the channels. */
function midBlock(channels: number, addAttention: boolean): Module {
  const attention = {
    group_norm: norm(channels),
    to_q: linear(channels, channels),
    to_k: linear(channels, channels),
    to_v: linear(channels, channels),
    to_out: [linear(channels, channels)],
  }
  return {
    attentions: addAttention ? [attention] : undefined,
    resnets: repeat(2, () => resnetBlock(channels, channels)),
  }
}
