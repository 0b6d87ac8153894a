import { node } from "../node.ts"
import type { Padding2d, Value } from "../value.ts"
import type { Weights } from "../weights.ts"
import { add } from "./elementwise.ts"

/** Matrix product over the last two axes, either side transposed, times `scale`; b may be one matrix for all batches. */
export function matmul(a: Value, b: Value, { transA = false, transB = false, scale = 1 } = {}): Value {
  return node("matmul", [a, b], { transA, transB, scale })
}

/**
 * x W^T + b.   x [..., In] -> [..., Out]
 * Weight names: `weight` [Out, In], `bias` [Out] where there is one (torch `Linear`).
 */
export function linear(x: Value, w: Weights): Value {
  const y = matmul(x, w.get("weight"), { transB: true })
  return w.has("bias") ? add(y, w.get("bias")) : y
}

/** How a convolution moves over its picture. */
export interface Conv2dOptions {
  readonly stride?: number
  /** Zeros around the picture: the same on all sides, or [top, left, bottom, right]. */
  readonly padding?: number | Padding2d
}

/**
 * Convolution.   x [B, Cin, H, W] -> [B, Cout, H', W']
 * Weight names: `weight` [Cout, Cin, kh, kw], `bias` [Cout] where there is one (torch `Conv2d`).
 */
export function conv2d(x: Value, w: Weights, options: Conv2dOptions = {}): Value {
  return convolve(x, w.get("weight"), w.has("bias") ? w.get("bias") : undefined, options)
}

/** Convolution with the weight [Cout, Cin, kh, kw] and the bias [Cout] given as values. */
export function convolve(
  x: Value,
  weight: Value,
  bias: Value | undefined,
  { stride = 1, padding = 0 }: Conv2dOptions = {},
): Value {
  const around: Padding2d = typeof padding === "number" ? [padding, padding, padding, padding] : padding
  return node("conv2d", bias ? [x, weight, bias] : [x, weight], { stride, padding: around })
}

/**
 * softmax(q k^T * scale + mask) v, in heads.
 *   q [B, T, C]   k [B, S, C]   v [B, S, D]   mask added to the scores, broadcast to [B, heads, T, S]   -> [B, T, D]
 * The scale is 1 / sqrt(C / heads) unless given ("Attention Is All You Need").
 */
export function attention(
  q: Value,
  k: Value,
  v: Value,
  { heads, mask, scale }: { heads: number; mask?: Value; scale?: number },
): Value {
  const perHead = q.shape[q.shape.length - 1] / heads
  return node("attention", mask ? [q, k, v, mask] : [q, k, v], {
    heads,
    scale: scale ?? 1 / Math.sqrt(perHead),
  })
}
