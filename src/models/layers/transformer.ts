import {
  add,
  attention,
  conv2d,
  gelu,
  groupNorm,
  layerNorm,
  linear,
  mul,
  toPicture,
  toSequence,
} from "../../graph/ops/index.ts"
import type { Value } from "../../graph/value.ts"
import type { Weights } from "../../graph/weights.ts"

/** What shapes a transformer over a picture, beside its weights. */
export interface TransformerOptions {
  /** Transformer blocks in a row. */
  readonly layers: number
  readonly heads: number
  readonly groups: number
  /** The projections in and out are linear layers after flattening, not 1x1 convolutions before it. */
  readonly linearProjection: boolean
  /** The first attention reads the context too, in place of the picture. */
  readonly onlyCrossAttention: boolean
}

/**
 * A transformer over the places of a picture, which also reads the context (the text).
 *   x [B, C, H, W]   context [B, T, D]   ->   [B, C, H, W]
 * Weight names: diffusers `Transformer2DModel`.
 */
export function transformer2d(x: Value, context: Value, w: Weights, options: TransformerOptions): Value {
  const { layers, heads, groups, linearProjection, onlyCrossAttention } = options
  const [, , height, width] = x.shape
  const normal = groupNorm(x, w.at("norm"), { groups, eps: 1e-6 })
  let h = linearProjection
    ? linear(toSequence(normal), w.at("proj_in"))
    : toSequence(conv2d(normal, w.at("proj_in")))
  for (let k = 0; k < layers; k++)
    h = transformerBlock(h, context, w.at("transformer_blocks").at(k), { heads, onlyCrossAttention })
  const out = linearProjection
    ? toPicture(linear(h, w.at("proj_out")), height, width)
    : conv2d(toPicture(h, height, width), w.at("proj_out"))
  return add(out, x)
}

/**
 * Self-attention, cross-attention and a gated feed-forward layer, each on a normalised copy and added back.
 *   x [B, N, C]   context [B, T, D]   ->   [B, N, C]
 * Weight names: diffusers `BasicTransformerBlock`.
 */
function transformerBlock(
  x: Value,
  context: Value,
  w: Weights,
  { heads, onlyCrossAttention }: { heads: number; onlyCrossAttention: boolean },
): Value {
  const first = layerNorm(x, w.at("norm1"))
  let h = add(crossAttention(first, onlyCrossAttention ? context : first, w.at("attn1"), heads), x)
  h = add(crossAttention(layerNorm(h, w.at("norm2")), context, w.at("attn2"), heads), h)
  return add(feedForward(layerNorm(h, w.at("norm3")), w.at("ff").at("net")), h)
}

/** Attention from x [B, N, C] to the context [B, T, D]. Weight names: diffusers `Attention`. */
export function crossAttention(x: Value, context: Value, w: Weights, heads: number): Value {
  const q = linear(x, w.at("to_q"))
  const k = linear(context, w.at("to_k"))
  const v = linear(context, w.at("to_v"))
  return linear(attention(q, k, v, { heads }), w.at("to_out").at(0))
}

/** GEGLU: half of the widened features, gated by the GELU of the other half (Shazeer 2020, diffusers `FeedForward`). */
function feedForward(x: Value, w: Weights): Value {
  // Two products of half the width: to cut one product's result in two would cost a pass over it.
  const wide = w.at(0).at("proj") // [8 C, C]
  const [rows] = wide.get("weight").shape
  const value = linear(x, wide.rows(0, rows / 2)) // [B, N, 4 C]
  const gate = linear(x, wide.rows(rows / 2, rows))
  return linear(mul(value, gelu(gate)), w.at(2))
}
