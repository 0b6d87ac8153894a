import { add, conv2d, groupNorm, linear, silu, unsqueeze, upsampleNearest } from "../../graph/ops/index.ts"
import type { Value } from "../../graph/value.ts"
import type { Weights } from "../../graph/weights.ts"

/** Group normalisation of a block: how many groups, and what is added to the variance. */
export interface NormOptions {
  readonly groups: number
  readonly eps: number
}

/**
 * One residual block, told the noise level by `time` where there is one.
 *   x [B, Cin, H, W]   time [B, T]   ->   [B, Cout, H, W]
 * Weight names: diffusers `ResnetBlock2D`; a shortcut convolution stands where Cin is not Cout.
 */
export function resnetBlock(x: Value, time: Value | undefined, w: Weights, norm: NormOptions): Value {
  let h = conv2d(silu(groupNorm(x, w.at("norm1"), norm)), w.at("conv1"), { padding: 1 })
  if (time) h = add(h, unsqueeze(linear(silu(time), w.at("time_emb_proj")), [2, 3]))
  h = conv2d(silu(groupNorm(h, w.at("norm2"), norm)), w.at("conv2"), { padding: 1 })
  return add(w.has("conv_shortcut") ? conv2d(x, w.at("conv_shortcut")) : x, h)
}

/**
 * Enlarges to the given size by nearest pixels, then convolves.   x [B, C, H, W] -> [B, C, height, width]
 * Weight names: diffusers `Upsample2D`.
 */
export function upsample(x: Value, w: Weights, height: number, width: number): Value {
  return conv2d(upsampleNearest(x, height, width), w.at("conv"), { padding: 1 })
}
