import { add, attention, conv2d, groupNorm, linear, silu, toPicture, toSequence } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import type { AutoencoderConfig } from "./config/autoencoder.ts"
import { type NormOptions, resnetBlock, upsample } from "./layers/residual.ts"

/**
 * Pictures into the distribution of their latents.
 *   x [B, 3, H, W] in [-1, 1]   ->   [B, 2 L, H / f, W / f], means before log-variances, f = 2^(blocks - 1)
 * Weight names and structure: diffusers `AutoencoderKL.encode` (before the distribution is sampled or clamped).
 */
export function encodeMoments(x: Value, weights: Weights, config: AutoencoderConfig): Value {
  const w = weights.at("encoder")
  const norm = normOf(config)
  const last = config.blockOutChannels.length - 1
  let h = conv2d(x, w.at("conv_in"), { padding: 1 })
  for (let i = 0; i <= last; i++) {
    const block = w.at("down_blocks").at(i)
    for (let j = 0; j < config.layersPerBlock; j++)
      h = resnetBlock(h, undefined, block.at("resnets").at(j), norm)
    // Zeros on the right and bottom only, as the first latent diffusion code padded.
    if (i < last)
      h = conv2d(h, block.at("downsamplers").at(0).at("conv"), { stride: 2, padding: [0, 0, 1, 1] })
  }
  h = middle(h, w.at("mid_block"), norm, config)
  h = conv2d(silu(groupNorm(h, w.at("conv_norm_out"), norm)), w.at("conv_out"), { padding: 1 })
  return config.useQuantConv ? conv2d(h, weights.at("quant_conv")) : h
}

/**
 * Latents into pictures.   z [B, L, h, w], already divided by the scaling factor   ->   [B, 3, f h, f w], about [-1, 1]
 * Weight names and structure: diffusers `AutoencoderKL.decode`.
 */
export function decodeLatents(z: Value, weights: Weights, config: AutoencoderConfig): Value {
  const w = weights.at("decoder")
  const norm = normOf(config)
  const last = config.blockOutChannels.length - 1
  let h = config.usePostQuantConv ? conv2d(z, weights.at("post_quant_conv")) : z
  h = middle(conv2d(h, w.at("conv_in"), { padding: 1 }), w.at("mid_block"), norm, config)
  for (let i = 0; i <= last; i++) {
    const block = w.at("up_blocks").at(i)
    for (let j = 0; j <= config.layersPerBlock; j++)
      h = resnetBlock(h, undefined, block.at("resnets").at(j), norm)
    if (i < last) h = upsample(h, block.at("upsamplers").at(0), h.shape[2] * 2, h.shape[3] * 2)
  }
  return conv2d(silu(groupNorm(h, w.at("conv_norm_out"), norm)), w.at("conv_out"), { padding: 1 })
}

function middle(x: Value, w: Weights, norm: NormOptions, config: AutoencoderConfig): Value {
  let h = resnetBlock(x, undefined, w.at("resnets").at(0), norm)
  if (config.midBlockAddAttention) h = selfAttention(h, w.at("attentions").at(0), norm)
  return resnetBlock(h, undefined, w.at("resnets").at(1), norm)
}

/** Attention of one head over all places of a picture. Weight names: diffusers `Attention` with a group norm. */
function selfAttention(x: Value, w: Weights, norm: NormOptions): Value {
  const h = toSequence(groupNorm(x, w.at("group_norm"), norm))
  const [q, k, v] = ["to_q", "to_k", "to_v"].map((name) => linear(h, w.at(name)))
  const out = linear(attention(q, k, v, { heads: 1 }), w.at("to_out").at(0))
  return add(toPicture(out, x.shape[2], x.shape[3]), x)
}

function normOf(config: AutoencoderConfig): NormOptions {
  return { groups: config.normNumGroups, eps: 1e-6 }
}
