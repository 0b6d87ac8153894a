import { add, div, matmul, mul, reduceSum, reshape, shift, sqrt, sub, transpose } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import type { Shape } from "../ground/shape.ts"
import { sizeOf } from "../ground/shape.ts"

/**
 * What small tensors add to a weight [Out, In, ...kernel], as LyCORIS defines it (Yeh et al. 2024). Nothing is computed
 * here: the change is described, so that no memory holds it and one description serves all precisions. Each function
 * throws a LimnError where the tensors do not fit each other or the weight.
 */

/** LoRA: up down, or with a `mid` between them a kernel in Tucker's form. */
export function loraDelta(w: Weights, shape: Shape): Value {
  const [up, down] = [asMatrix(w.get("up")), w.get("down")]
  const delta = w.has("mid")
    ? tucker(w.get("mid"), transpose(up, [1, 0]), asMatrix(down))
    : matmul(up, asMatrix(down))
  return reshape(delta, shape)
}

/** LoHa: two low-rank products, multiplied element by element (Hyeon-Woo et al. 2022: FedPara). */
export function lohaDelta(w: Weights, shape: Shape): Value {
  const [first, second] = [1, 2].map((n) => {
    const [a, b] = [w.get(`hada_w${n}_a`), w.get(`hada_w${n}_b`)]
    return w.has(`hada_t${n}`) ? tucker(w.get(`hada_t${n}`), a, b) : matmul(a, b)
  })
  return reshape(mul(first, second), shape)
}

/** LoKr: a Kronecker product of a small matrix and a block of the weight, either of them whole or of low rank. */
export function lokrDelta(w: Weights, shape: Shape): Value {
  const small = w.has("lokr_w1") ? w.get("lokr_w1") : matmul(w.get("lokr_w1_a"), w.get("lokr_w1_b"))
  const [a, b] = small.shape
  const kernel = sizeOf(shape.slice(2))
  const block = reshape(lokrBlock(w), [shape[0] / a, shape[1] / b, kernel])
  const [c, d] = block.shape
  return reshape(mul(reshape(small, [a, 1, b, 1, 1]), reshape(block, [1, c, 1, d, kernel])), shape)
}

function lokrBlock(w: Weights): Value {
  if (w.has("lokr_w2")) return w.get("lokr_w2")
  const [a, b] = [w.get("lokr_w2_a"), w.get("lokr_w2_b")]
  return w.has("lokr_t2") ? tucker(w.get("lokr_t2"), a, b) : matmul(a, b)
}

/** A kernel from its core.   core [R, S, ...kernel]   a [R, Out]   b [S, In]   ->   [Out, In, ...kernel] */
function tucker(core: Value, a: Value, b: Value): Value {
  const [r, s, ...kernel] = core.shape
  const size = sizeOf(kernel)
  const [out, inside] = [a.shape[1], b.shape[1]]
  const left = matmul(a, reshape(core, [r, s * size]), { transA: true })
  const places = reshape(transpose(reshape(left, [out, s, size]), [0, 2, 1]), [out * size, s])
  const both = reshape(matmul(places, b), [out, size, inside])
  return reshape(transpose(both, [0, 2, 1]), [out, inside, ...kernel])
}

/** float32's smallest step from 1, which LyCORIS adds to norms. */
const EPSILON = 2 ** -23

/**
 * DoRA: the moved weight with columns of trained lengths (Liu et al. 2024), less the weight itself. Lengths are those of
 * each output's row, or of each input's column.
 */
export function doraDelta(weight: Value, delta: Value, magnitude: Value, of: "output" | "input"): Value {
  const moved = add(weight, delta)
  const kept = of === "output" ? 0 : 1
  const axes = weight.shape.map((_, axis) => axis).filter((axis) => axis !== kept)
  const length = shift(sqrt(reduceSum(mul(moved, moved), axes, { keepDims: true })), EPSILON)
  return sub(mul(moved, div(reshape(magnitude, length.shape), length)), weight)
}

/** A matrix, or a kernel with its places in one row. */
function asMatrix(factor: Value): Value {
  const [rows] = factor.shape
  return reshape(factor, [rows, sizeOf(factor.shape) / rows])
}
