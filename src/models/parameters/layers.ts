import type { Shape } from "../../ground/shape.ts"
import { sizeOf } from "../../ground/shape.ts"
import type { Module, ModuleList, Parameter } from "./module.ts"

/** A parameter that begins at one value everywhere. */
export function constant(shape: Shape, value: number): Parameter {
  return { shape, init: { kind: "constant", value } }
}

/** A parameter that begins at draws from N(0, std squared). */
export function normal(shape: Shape, std: number): Parameter {
  return { shape, init: { kind: "normal", std } }
}

/** Weight [out, in, ...kernel] and bias as PyTorch draws them: U(-1/sqrt(fanIn), 1/sqrt(fanIn)) for both. */
function weightAndBias(weight: Shape, bias: boolean): Module {
  const init = { kind: "uniform", bound: 1 / Math.sqrt(sizeOf(weight.slice(1))) } as const
  return { weight: { shape: weight, init }, bias: bias ? { shape: [weight[0]], init } : undefined }
}

/** `nn.Linear`: weight [out, in]. */
export function linear(inFeatures: number, outFeatures: number, { bias = true } = {}): Module {
  return weightAndBias([outFeatures, inFeatures], bias)
}

/** `nn.Conv2d` with a square kernel: weight [out, in, kernel, kernel]. */
export function conv2d(
  inChannels: number,
  outChannels: number,
  kernel: number,
  { bias = true } = {},
): Module {
  return weightAndBias([outChannels, inChannels, kernel, kernel], bias)
}

/** `nn.GroupNorm` or `nn.LayerNorm`: scale and shift for each channel. */
export function norm(channels: number): Module {
  return { weight: constant([channels], 1), bias: constant([channels], 0) }
}

/** diffusers `ResnetBlock2D`; `timeDim` undefined for the autoencoder's, which are told no time. */
export function resnetBlock(inChannels: number, outChannels: number, timeDim?: number): Module {
  return {
    norm1: norm(inChannels),
    conv1: conv2d(inChannels, outChannels, 3),
    time_emb_proj: timeDim === undefined ? undefined : linear(timeDim, outChannels),
    norm2: norm(outChannels),
    conv2: conv2d(outChannels, outChannels, 3),
    conv_shortcut: inChannels === outChannels ? undefined : conv2d(inChannels, outChannels, 1),
  }
}

/** diffusers `Downsample2D` or `Upsample2D`, as the one-element list that holds it. */
export function resample(channels: number): ModuleList {
  return [{ conv: conv2d(channels, channels, 3) }]
}

/** `[part(0), ..., part(count - 1)]`. */
export function repeat(count: number, part: (i: number) => Module): ModuleList {
  return Array.from({ length: count }, (_, i) => part(i))
}
