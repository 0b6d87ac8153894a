import { node } from "../node.ts"
import type { Value } from "../value.ts"
import type { Weights } from "../weights.ts"

/**
 * Each group of channels to mean 0 and variance 1 (biased), then scaled and shifted per channel.
 *   x [B, C, ...] -> the same.   Weight names: `weight` [C], `bias` [C] (Wu & He 2018, torch `GroupNorm`).
 */
export function groupNorm(x: Value, w: Weights, { groups, eps }: { groups: number; eps: number }): Value {
  return node("groupNorm", [x, w.get("weight"), w.get("bias")], { groups, eps })
}

/** The last axis to mean 0 and variance 1 (biased), then scaled and shifted (Ba et al. 2016, torch `LayerNorm`). */
export function layerNorm(x: Value, w: Weights, { eps = 1e-5 } = {}): Value {
  return node("layerNorm", [x, w.get("weight"), w.get("bias")], { eps })
}

/** The last axis divided by the root of its mean square, then scaled (Zhang & Sennrich 2019, torch `RMSNorm`). */
export function rmsNorm(x: Value, w: Weights, { eps }: { eps: number }): Value {
  return node("rmsNorm", [x, w.get("weight")], { eps })
}

/** exp(x) / sum exp(x) over the last axis. */
export function softmax(x: Value): Value {
  return node("softmax", [x], {})
}

/** x - log sum exp(x) over the last axis. */
export function logSoftmax(x: Value): Value {
  return node("logSoftmax", [x], {})
}
