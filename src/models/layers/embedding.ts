import { constant } from "../../graph/node.ts"
import {
  add,
  attention,
  concat,
  cos,
  expand,
  layerNorm,
  linear,
  mul,
  reduceMean,
  reshape,
  silu,
  sin,
  unsqueeze,
} from "../../graph/ops/index.ts"
import type { Value } from "../../graph/value.ts"
import type { Weights } from "../../graph/weights.ts"
import { float32 } from "../../ground/tensor.ts"

/**
 * Numbers as sinusoids of geometrically falling frequencies ("Attention Is All You Need"; diffusers `Timesteps`).
 *   values [N] -> [N, width], cosines first where `flipSinToCos`
 */
export function sinusoids(
  values: Value,
  width: number,
  { flipSinToCos, freqShift }: { flipSinToCos: boolean; freqShift: number },
): Value {
  const half = width / 2
  // In float32 throughout, as torch computes them: at t = 999 the last bit of a frequency shows.
  const rate = Math.fround(-Math.log(10000))
  const frequencies = Float32Array.from({ length: half }, (_, k) =>
    Math.exp(Math.fround(Math.fround(rate * k) / (half - freqShift))),
  )
  const angles = mul(unsqueeze(values, [1]), constant(float32([1, half], frequencies)))
  return concat(flipSinToCos ? [cos(angles), sin(angles)] : [sin(angles), cos(angles)], 1)
}

/** Two linear layers with SiLU between. Weight names: diffusers `TimestepEmbedding`. */
export function embedding(x: Value, w: Weights): Value {
  return linear(silu(linear(x, w.at("linear_1"))), w.at("linear_2"))
}

/**
 * One vector read from a whole text, for the time embedding.   text [B, T, D] -> [B, E]
 * Weight names: diffusers `TextTimeEmbedding`.
 */
export function textEmbedding(text: Value, w: Weights, heads: number): Value {
  const pooled = attentionPool(layerNorm(text, w.at("norm1")), w.at("pool"), heads)
  return layerNorm(linear(pooled, w.at("proj")), w.at("norm2"))
}

/** The mean of a sequence attends to itself and the sequence.   x [B, T, D] -> [B, D]   (diffusers `AttentionPooling`) */
function attentionPool(x: Value, w: Weights, heads: number): Value {
  const [b, , d] = x.shape
  const position = expand(reshape(w.get("positional_embedding"), [1, 1, d]), [b, 1, d])
  const mean = add(reduceMean(x, [1], { keepDims: true }), position)
  const all = concat([mean, x], 1)
  const pooled = attention(
    linear(mean, w.at("q_proj")),
    linear(all, w.at("k_proj")),
    linear(all, w.at("v_proj")),
    { heads },
  )
  return reshape(pooled, [b, d])
}
