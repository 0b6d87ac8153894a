import { add, concat, conv2d, expand, groupNorm, linear, reshape, silu } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import { LimnError } from "../ground/errors.ts"
import type { UNetConfig, UNetEncoderConfig } from "./config/unet.ts"
import { embedding, sinusoids, textEmbedding } from "./layers/embedding.ts"
import { type NormOptions, resnetBlock, upsample } from "./layers/residual.ts"
import { transformer2d } from "./layers/transformer.ts"

/** What a UNet is asked at one step, and a ControlNet beside it. */
export interface UNetEncoderInputs {
  /** Noisy latents [B, Cin, H, W]; H and W need not be powers of two. */
  readonly sample: Value
  /** Noise level of each, in training steps, fractions allowed [B]. */
  readonly timestep: Value
  /** Encoded text [B, T, D]. */
  readonly encoderHiddenStates: Value
  /** Pooled text [B, P], for models whose additional embedding is "text_time" (SDXL). */
  readonly textEmbeds?: Value
  /** Sizes in pixels [B, 6]: original, crop corner, target; with `textEmbeds`. */
  readonly timeIds?: Value
}

/** What a UNet is asked at one step. */
export interface UNetInputs extends UNetEncoderInputs {
  /** What ControlNets add to the skips, outermost first, and to the middle, as `controlNet` gives them. */
  readonly residuals?: readonly Value[]
}

/** What a U-Net's way up begins with. */
export interface UNetEncoding {
  /** What each layer of the way down leaves for the way up, outermost first [B, C, H, W]. */
  readonly skips: readonly Value[]
  readonly middle: Value
  /** The noise level, and what else was added to it [B, E]. */
  readonly time: Value
  /** The text as attentions read it [B, T, D]. */
  readonly text: Value
}

/** What a U-Net gives. */
export interface UNetOutputs {
  /** What is noise, or velocity, in each latent [B, Cout, H, W]. */
  readonly output: Value
  /** What reaches the two last layers of the way up from all but the outermost, as `shallowUnet` takes it [B, C, H, W]. */
  readonly deep: Value
}

/**
 * The denoiser of latent diffusion (Rombach et al. 2022): what is noise, or velocity, in each latent.
 *   -> [B, Cout, H, W]
 * Weight names and structure: diffusers `UNet2DConditionModel`.
 */
export function unet(inputs: UNetInputs, w: Weights, config: UNetConfig): Value {
  return deepUnet(inputs, w, config).output
}

/** The same, with what its inner layers made, which changes little from step to step (Ma et al. 2024: DeepCache). */
export function deepUnet(inputs: UNetInputs, w: Weights, config: UNetConfig): UNetOutputs {
  const { residuals } = inputs
  const { skips: left, middle, time, text } = unetEncoder(inputs, w, config)
  if (residuals && residuals.length !== left.length + 1)
    throw new LimnError(
      `unet: there are ${residuals.length} residuals for ${left.length} skips and a middle.`,
    )
  const skips = withResiduals(left, residuals)
  const h = residuals ? add(middle, residuals[left.length]) : middle
  return wayUp({ skips, middle: h, time, text }, w, config)
}

/**
 * A U-Net's two outermost layers down and up around what its inner layers made at an earlier step, in a third of the time
 * or less. `residuals` are those of these two skips.   deep [B, C, H, W], of `deepUnet`   -> [B, Cout, H, W]
 */
export function shallowUnet(
  inputs: UNetInputs & { readonly deep: Value },
  w: Weights,
  config: UNetConfig,
): Value {
  const { deep, residuals } = inputs
  const told = toldOf(inputs, w, config)
  const first = conv2d(inputs.sample, w.at("conv_in"), { padding: 1 })
  const left = [first, layerDown(first, told, w, config, [0, 0])]
  const skips = withResiduals(left, residuals)
  return wayUp({ skips, middle: deep, ...told }, w, config).output
}

function withResiduals(skips: readonly Value[], residuals: UNetInputs["residuals"]): readonly Value[] {
  return residuals === undefined ? skips : skips.map((skip, i) => add(skip, residuals[i]))
}

/** Channels of the `deep` of `deepUnet`. */
export function deepChannels({ blockOutChannels, layersPerBlock }: UNetConfig): number {
  // The layer before the two last: of the outermost block, or where that has no third layer of the one within.
  return layersPerBlock[0] > 1
    ? blockOutChannels[0]
    : blockOutChannels[Math.min(1, blockOutChannels.length - 1)]
}

/** The layers of the way up that read the skips that are left, innermost first; each takes one. */
function wayUp(
  { skips: left, middle, time, text }: UNetEncoding,
  w: Weights,
  config: UNetConfig,
): UNetOutputs {
  const norm = normOf(config)
  const last = config.blockOutChannels.length - 1
  const layers = config.upBlockTypes.flatMap((type, u) =>
    Array.from({ length: config.layersPerBlock[last - u] + 1 }, (_, j) => ({ type, u, j })),
  )
  const skips = [...left]
  let h = middle
  let deep = middle
  for (const { type, u, j } of layers.slice(-left.length)) {
    if (skips.length === 2) deep = h
    const i = last - u
    const block = w.at("up_blocks").at(u)
    h = resnetBlock(concat([h, skips.pop()!], 1), time, block.at("resnets").at(j), norm)
    if (type === "CrossAttnUpBlock2D")
      h = transformer2d(h, text, block.at("attentions").at(j), transformerAt(config, i))
    // The next skip's size, not twice this one: odd sizes were rounded up on the way down.
    const next = skips.at(-1)
    if (j === config.layersPerBlock[i] && next)
      h = upsample(h, block.at("upsamplers").at(0), next.shape[2], next.shape[3])
  }
  const output = conv2d(silu(groupNorm(h, w.at("conv_norm_out"), norm)), w.at("conv_out"), { padding: 1 })
  return { output, deep }
}

/**
 * The way down and the middle, which a ControlNet has copies of. `hint` [B or 1, C, H, W] is added to the first skip,
 * before all else: a ControlNet's picture.
 */
export function unetEncoder(
  inputs: UNetEncoderInputs,
  w: Weights,
  config: UNetEncoderConfig,
  hint?: Value,
): UNetEncoding {
  const last = config.blockOutChannels.length - 1
  const told = toldOf(inputs, w, config)
  const first = conv2d(inputs.sample, w.at("conv_in"), { padding: 1 })
  let h = hint ? add(first, hint) : first
  const skips = [h]
  for (let i = 0; i <= last; i++) {
    for (let j = 0; j < config.layersPerBlock[i]; j++) {
      h = layerDown(h, told, w, config, [i, j])
      skips.push(h)
    }
    if (i < last) {
      const sampler = w.at("down_blocks").at(i).at("downsamplers").at(0)
      h = conv2d(h, sampler.at("conv"), { stride: 2, padding: 1 })
      skips.push(h)
    }
  }
  return { skips, middle: middle(h, told, w.at("mid_block"), config), ...told }
}

/** What all layers of a U-Net are told: the noise level, and what else was added to it [B, E], and the text [B, T, D]. */
type Told = Pick<UNetEncoding, "time" | "text">

function toldOf(inputs: UNetEncoderInputs, w: Weights, config: UNetEncoderConfig): Told {
  const { encoderHiddenStates } = inputs
  const text = w.has("encoder_hid_proj")
    ? linear(encoderHiddenStates, w.at("encoder_hid_proj"))
    : encoderHiddenStates
  return { time: timeEmbedding(inputs, w, config), text }
}

/** Layer `j` of block `i` of the way down. */
function layerDown(
  x: Value,
  { time, text }: Told,
  w: Weights,
  config: UNetEncoderConfig,
  [i, j]: readonly [i: number, j: number],
): Value {
  const block = w.at("down_blocks").at(i)
  const h = resnetBlock(x, time, block.at("resnets").at(j), normOf(config))
  return config.downBlockTypes[i] === "CrossAttnDownBlock2D"
    ? transformer2d(h, text, block.at("attentions").at(j), transformerAt(config, i))
    : h
}

function normOf({ normNumGroups, normEps }: UNetEncoderConfig): NormOptions {
  return { groups: normNumGroups, eps: normEps }
}

function timeEmbedding(inputs: UNetEncoderInputs, w: Weights, config: UNetEncoderConfig): Value {
  const frequency = { flipSinToCos: config.flipSinToCos, freqShift: config.freqShift }
  const time = embedding(
    sinusoids(inputs.timestep, config.blockOutChannels[0], frequency),
    w.at("time_embedding"),
  )
  const addition = config.additionEmbed
  if (addition === null) return time
  const added = w.at("add_embedding")
  if (addition.type === "text")
    return add(time, textEmbedding(inputs.encoderHiddenStates, added, addition.heads))
  const { textEmbeds, timeIds } = inputs
  if (!textEmbeds || !timeIds)
    throw new LimnError(
      "unet: this model also needs textEmbeds and timeIds (its addition_embed_type is text_time).",
    )
  const [b, count] = timeIds.shape
  const sizes = sinusoids(reshape(timeIds, [b * count]), addition.timeDim, frequency)
  return add(time, embedding(concat([textEmbeds, reshape(sizes, [b, count * addition.timeDim])], 1), added))
}

function middle(x: Value, { time, text }: Told, w: Weights, config: UNetEncoderConfig): Value {
  const norm = normOf(config)
  const last = config.blockOutChannels.length - 1
  const options = { ...transformerAt(config, last), onlyCrossAttention: false }
  let h = resnetBlock(x, time, w.at("resnets").at(0), norm)
  if (!w.has("attentions")) return h
  h = transformer2d(h, text, w.at("attentions").at(0), options)
  return resnetBlock(h, time, w.at("resnets").at(1), norm)
}

function transformerAt(config: UNetEncoderConfig, i: number) {
  return {
    layers: config.transformerLayersPerBlock[i],
    heads: config.attentionHeads[i],
    groups: config.normNumGroups,
    linearProjection: config.useLinearProjection,
    onlyCrossAttention: config.onlyCrossAttention[i],
  }
}

/** One noise level for all of a batch, as the [B] that `unet` takes. */
export function sharedTimestep(timestep: Value, batch: number): Value {
  return expand(reshape(timestep, [1]), [batch])
}
