import { add, matmul, mul, reduceSum, reshape, softmax, sub, sumTo, transpose } from "../ops/index.ts"
import type { Value } from "../value.ts"

/**
 * Attention's gradients. The attention weights P are computed again from q and k, as flash attention does,
 * so the forward pass keeps the fused operator and stores nothing.
 *   dV = P^T g    dP = g V^T    dS = P * (dP - sum(dP * P))    dQ = s dS K    dK = s dS^T Q
 */
export function attentionGradient(g: Value, { inputs, attributes }: Value<"attention">): (Value | null)[] {
  const { heads, scale: factor } = attributes
  const [q, k, v] = inputs.slice(0, 3).map((x) => splitHeads(x, heads))
  const mask: Value | undefined = inputs[3]
  const gradient = splitHeads(g, heads)

  const scores = matmul(q, k, { transB: true, scale: factor })
  const weights = softmax(mask ? add(scores, mask) : scores) // [B, heads, T, S]
  const weighted = mul(matmul(gradient, v, { transB: true }), weights)
  const gradScores = sub(weighted, mul(weights, reduceSum(weighted, [3], { keepDims: true })))
  return [
    joinHeads(matmul(gradScores, k, { scale: factor })),
    joinHeads(matmul(gradScores, q, { transA: true, scale: factor })),
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
