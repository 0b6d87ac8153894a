import { add, matmul, mul, reduceSum, reshape, softmax, sub, sumTo, transpose } from "../ops/index.ts"
import type { Value } from "../value.ts"

/**
 * Attention's gradients. The attention weights P are computed again from q and k, as flash attention does,
 * so the forward pass keeps the fused operator and stores nothing.
 *   dV = P^T g    dP = g V^T    dS = P * (dP - sum(dP * P))    dQ = s dS K    dK = s dS^T Q
 * The sums are taken where they are short: sum(dP * P) over the keys is sum(g * y) over a head's channels.
 */
export function attentionGradient(g: Value, value: Value<"attention">): (Value | null)[] {
  const { heads, scale } = value.attributes
  const [q, k, v] = value.inputs.slice(0, 3).map((x) => splitHeads(x, heads))
  const mask: Value | undefined = value.inputs[3]
  const gradient = splitHeads(g, heads)

  const scores = matmul(q, k, { transB: true, scale })
  const weights = softmax(mask ? add(scores, mask) : scores) // [B, heads, T, S]
  const means = reduceSum(splitHeads(mul(g, value), heads), [3], { keepDims: true }) // [B, heads, T, 1]
  const gradScores = mul(weights, sub(matmul(gradient, v, { transB: true }), means))
  return [
    joinHeads(matmul(gradScores, k, { scale })),
    joinHeads(matmul(gradScores, q, { transA: true, scale })),
    joinHeads(matmul(weights, gradient, { transA: true })),
    ...(mask ? [sumTo(gradScores, mask.shape)] : []),
  ]
}

/** [B, T, heads * D] -> [B, heads, T, D] */
function splitHeads(x: Value, heads: number): Value {
  const [b, t, c] = x.shape
  return transpose(reshape(x, [b, t, heads, c / heads]), [0, 2, 1, 3])
}

/** [B, heads, T, D] -> [B, T, heads * D] */
function joinHeads(x: Value): Value {
  const [b, heads, t, d] = x.shape
  return reshape(transpose(x, [0, 2, 1, 3]), [b, t, heads * d])
}
