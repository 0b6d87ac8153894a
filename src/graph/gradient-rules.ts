import { attentionGradient } from "./gradients/attention.ts"
import { convolutionGradient } from "./gradients/convolution.ts"
import { groupNormGradient, layerNormGradient, rmsNormGradient } from "./gradients/normalisation.ts"
import { matmulGradient } from "./gradients/product.ts"
import { upsampleNearestGradient } from "./gradients/resampling.ts"
import {
  add,
  cast,
  cos,
  div,
  erf,
  exp,
  expand,
  gatherRows,
  mul,
  neg,
  pad,
  reduceSum,
  reshape,
  scale,
  scatterRows,
  shift,
  sigmoid,
  sin,
  slice,
  sub,
  sumTo,
  transpose,
} from "./ops/index.ts"
import type { Attributes, Op, Value } from "./value.ts"

/**
 * The gradient of the loss in each input, from `g`, its gradient in the result: null where none flows.
 * Values that end up unused are never computed, so a rule describes all of them without cost.
 */
export type GradientRule<P extends Op> = (g: Value, value: Value<P>) => readonly (Value | null)[]

const none: GradientRule<Op> = () => []

/** Reverse-mode derivatives of every operator, written in the operators themselves. */
export const gradientRules: { readonly [P in Op]: GradientRule<P> | null } = {
  input: none,
  weight: none,
  constant: none,

  add: (g, { inputs: [a, b] }) => [sumTo(g, a.shape), sumTo(g, b.shape)],
  sub: (g, { inputs: [a, b] }) => [sumTo(g, a.shape), neg(sumTo(g, b.shape))],
  mul: (g, { inputs: [a, b] }) => [sumTo(mul(g, b), a.shape), sumTo(mul(g, a), b.shape)],
  div: (g, value) => {
    const [a, b] = value.inputs
    return [sumTo(div(g, b), a.shape), neg(sumTo(div(mul(g, value), b), b.shape))]
  },
  neg: (g) => [neg(g)],
  exp: (g, value) => [mul(g, value)],
  log: (g, { inputs: [x] }) => [div(g, x)],
  sqrt: (g, value) => [scale(div(g, value), 0.5)],
  sin: (g, { inputs: [x] }) => [mul(g, cos(x))],
  cos: (g, { inputs: [x] }) => [neg(mul(g, sin(x)))],
  tanh: (g, value) => [sub(g, mul(g, mul(value, value)))],
  sigmoid: (g, value) => [mul(g, sub(value, mul(value, value)))],
  // Passes where the result is not 0, as PyTorch has it: nothing flows at the bend.
  relu: (g, value) => [mul(g, cast(cast(value, "bool"), g.dtype))],
  sigmoidGate: (g, value) => {
    // y = x s, s = sigmoid(a x):  y' = s + a x s (1 - s) = s + a y (1 - s)
    const { alpha } = value.attributes
    const s = sigmoid(scale(value.inputs[0], alpha))
    return [mul(g, add(s, scale(sub(value, mul(value, s)), alpha)))]
  },
  gelu: (g, { inputs: [x] }) => {
    // Phi(x) + x phi(x), the normal distribution and its density
    const distribution = shift(scale(erf(scale(x, Math.SQRT1_2)), 0.5), 0.5)
    const density = scale(exp(scale(mul(x, x), -0.5)), 1 / Math.sqrt(2 * Math.PI))
    return [mul(g, add(distribution, mul(x, density)))]
  },
  erf: (g, { inputs: [x] }) => [scale(mul(g, exp(neg(mul(x, x)))), 2 / Math.sqrt(Math.PI))],
  cast: (g, { inputs: [x] }) => [cast(g, x.dtype)],

  matmul: matmulGradient,
  quantizedMatmul: null, // integers do not learn
  conv2d: convolutionGradient,
  int8Matmul: null, // nor these
  int8Conv2d: null,
  convTranspose2d: null, // only ever made by a gradient; nothing here differentiates twice
  attention: attentionGradient,

  groupNorm: groupNormGradient,
  groupNormRows: null, // only ever made by a pass
  layerNorm: layerNormGradient,
  rmsNorm: rmsNormGradient,
  softmax: (g, value) => {
    const weighted = mul(g, value)
    return [sub(weighted, mul(value, reduceSum(weighted, [value.shape.length - 1], { keepDims: true })))]
  },
  logSoftmax: (g, value) => {
    const total = reduceSum(g, [value.shape.length - 1], { keepDims: true })
    return [sub(g, mul(exp(value), total))]
  },

  reduceSum: (g, { inputs: [x], attributes }) => [spread(g, x, attributes)],
  reduceMean: (g, { inputs: [x], attributes }) => {
    const count = attributes.axes.reduce((n, axis) => n * x.shape[axis], 1)
    return [spread(scale(g, 1 / count), x, attributes)]
  },

  reshape: (g, { inputs: [x] }) => [reshape(g, x.shape)],
  transpose: (g, { attributes: { permutation } }) => [
    transpose(
      g,
      permutation.map((_, i) => permutation.indexOf(i)),
    ),
  ],
  concat: (g, { inputs, attributes: { axis } }) => {
    let start = 0
    return inputs.map((x) => {
      const end = start + x.shape[axis]
      const part = slice(g, axis, start, end)
      start = end
      return part
    })
  },
  slice: (g, { inputs: [x], attributes: { axis, start, step } }) => [unslice(g, x, axis, start, step)],
  pad: (g, { inputs: [x], attributes: { before } }) => [
    before.reduce((part, offset, axis) => slice(part, axis, offset, offset + x.shape[axis]), g),
  ],
  expand: (g, { inputs: [x] }) => [sumTo(g, x.shape)],
  upsampleNearest: upsampleNearestGradient,
  gatherRows: (g, { inputs: [table, ids] }) => [scatterRows(g, ids, table.shape[0]), null],
  scatterRows: (g, { inputs: [, ids] }) => [gatherRows(g, ids), null],
}

function spread(g: Value, x: Value, { axes }: Attributes["reduceSum"]): Value {
  const kept = x.shape.map((d, i) => (axes.includes(i) ? 1 : d))
  return expand(reshape(g, kept), x.shape)
}

/** Puts the elements of a slice back where they came from, zeros between and around them. */
function unslice(g: Value, x: Value, axis: number, start: number, step: number): Value {
  const count = g.shape[axis]
  const stride = Math.abs(step)
  const last = start + (count - 1) * step
  const forward = step > 0 ? g : slice(g, axis, count - 1, -1, -1)
  const first = Math.min(start, last)
  let spaced = forward
  if (stride > 1) {
    const split = [...forward.shape.slice(0, axis + 1), 1, ...forward.shape.slice(axis + 1)]
    const gaps = split.map((_, i) => (i === axis + 1 ? stride - 1 : 0))
    const zeroFilled = pad(
      reshape(forward, split),
      split.map(() => 0),
      gaps,
    )
    const joined = reshape(
      zeroFilled,
      forward.shape.map((d, i) => (i === axis ? d * stride : d)),
    )
    spaced = slice(joined, axis, 0, (count - 1) * stride + 1)
  }
  const size = x.shape[axis]
  const before = x.shape.map((_, i) => (i === axis ? first : 0))
  const after = x.shape.map((_, i) => (i === axis ? size - first - spaced.shape[axis] : 0))
  return pad(spaced, before, after)
}
