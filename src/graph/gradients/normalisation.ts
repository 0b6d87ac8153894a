import { sizeOf } from "../../ground/shape.ts"
import {
  add,
  div,
  matmul,
  mul,
  reduceMean,
  reduceSum,
  reshape,
  scalar,
  scale,
  shift,
  sqrt,
  sub,
} from "../ops/index.ts"
import type { Value } from "../value.ts"

// Both follow from y = w c r + b, where c = x - mean and r = 1 / sqrt(variance + eps), over n numbers:
//   dx = r (w g - mean(w g) - c r^2 mean(w g c))    dw = sum(g c r)    db = sum(g)
// Sums are taken before products wherever that leaves fewer numbers, since time goes into passes over memory.

/** Group normalisation's gradients in x, scale and bias. */
export function groupNormGradient(g: Value, { inputs, attributes }: Value<"groupNorm">): Value[] {
  const [x, weight] = inputs
  const [b, channels] = x.shape
  const { groups, eps } = attributes
  const width = channels / groups
  const places = sizeOf(x.shape) / (b * channels)
  const grouped = (value: Value) => reshape(value, [b, groups, width, places])

  const w = reshape(weight, [groups, width, 1])
  const { centred, inverse } = centre(grouped(x), [2, 3], eps)
  const sums = reduceSum(grouped(g), [3], { keepDims: true }) // of g, for each channel [B, groups, width, 1]
  const sumsAlong = reduceSum(mul(grouped(g), centred), [3], { keepDims: true }) // of g c
  const meanOf = (perChannel: Value) =>
    scale(reduceSum(mul(w, perChannel), [2], { keepDims: true }), 1 / (width * places))

  const slope = mul(cube(inverse), meanOf(sumsAlong)) // [B, groups, 1, 1]
  const offset = mul(inverse, meanOf(sums))
  const gradX = sub(mul(grouped(g), mul(inverse, w)), add(mul(centred, slope), offset))
  const perChannel = (value: Value) => reshape(reduceSum(value, [0]), [channels])
  return [reshape(gradX, x.shape), perChannel(mul(sumsAlong, inverse)), perChannel(sums)]
}

/** Layer normalisation's gradients in x, scale and bias. */
export function layerNormGradient(g: Value, { inputs, attributes }: Value<"layerNorm">): Value[] {
  const [x, weight] = inputs
  const width = x.shape[x.shape.length - 1]
  const rows = sizeOf(x.shape) / width
  const gradients = reshape(g, [rows, width])

  const { centred, inverse } = centre(reshape(x, [rows, width]), [1], attributes.eps)
  const along = mul(gradients, centred)
  const meanAlong = scale(matmul(along, reshape(weight, [width, 1])), 1 / width) // [rows, 1]
  const weighted = mul(gradients, weight)
  const level = sub(weighted, reduceMean(weighted, [1], { keepDims: true }))
  const gradX = sub(mul(level, inverse), mul(centred, mul(cube(inverse), meanAlong)))
  const gradWeight = matmul(reshape(inverse, [1, rows]), along)
  return [reshape(gradX, x.shape), reshape(gradWeight, [width]), reduceSum(gradients, [0])]
}

/** Root mean square normalisation's gradients in x and scale: y = w x r, with r = 1 / sqrt(mean(x^2) + eps). */
export function rmsNormGradient(g: Value, { inputs, attributes }: Value<"rmsNorm">): Value[] {
  const [x, weight] = inputs
  const width = x.shape[x.shape.length - 1]
  const rows = sizeOf(x.shape) / width
  const [values, gradients] = [x, g].map((value) => reshape(value, [rows, width]))

  const inverse = inverseRoot(values, [1], attributes.eps)
  const along = mul(gradients, values)
  const meanAlong = scale(matmul(along, reshape(weight, [width, 1])), 1 / width) // [rows, 1]
  const gradX = sub(mul(mul(gradients, weight), inverse), mul(values, mul(cube(inverse), meanAlong)))
  const gradWeight = matmul(reshape(inverse, [1, rows]), along)
  return [reshape(gradX, x.shape), reshape(gradWeight, [width])]
}

/** x - mean, and 1 / sqrt(variance + eps), both over the axes. */
function centre(x: Value, axes: readonly number[], eps: number): { centred: Value; inverse: Value } {
  const centred = sub(x, reduceMean(x, axes, { keepDims: true }))
  return { centred, inverse: inverseRoot(centred, axes, eps) }
}

/** 1 / sqrt(mean(x^2) + eps) over the axes. */
function inverseRoot(x: Value, axes: readonly number[], eps: number): Value {
  const square = reduceMean(mul(x, x), axes, { keepDims: true })
  return div(scalar(1, x), sqrt(shift(square, eps)))
}

function cube(x: Value): Value {
  return mul(x, mul(x, x))
}
