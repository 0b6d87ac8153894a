import { sizeOf } from "../../ground/shape.ts"
import { matmul, reshape, transpose } from "../ops/index.ts"
import type { Attributes, Value } from "../value.ts"

/** A matrix product's gradients: products of g with the other side. */
export function matmulGradient(g: Value, { inputs: [a, b], attributes }: Value<"matmul">): Value[] {
  const shared = b.shape.length === 2 && a.shape.length > 2
  if (!shared) return [gradientOfLeft(g, b, attributes), gradientOfRight(g, a, attributes)]
  // One matrix for all batches: all rows count as one long batch, so that its gradient is one product.
  const { transA } = attributes
  const upright = { ...attributes, transA: false }
  const left = transA ? swapLastAxes(a) : a
  const gradient = gradientOfLeft(g, b, upright)
  return [transA ? swapLastAxes(gradient) : gradient, gradientOfRight(flatten(g), flatten(left), upright)]
}

function gradientOfLeft(g: Value, b: Value, { transA, transB, scale }: Attributes["matmul"]): Value {
  return transA
    ? matmul(b, g, { transA: transB, transB: true, scale })
    : matmul(g, b, { transB: !transB, scale })
}

function gradientOfRight(g: Value, a: Value, { transA, transB, scale }: Attributes["matmul"]): Value {
  return transB
    ? matmul(g, a, { transA: true, transB: transA, scale })
    : matmul(a, g, { transA: !transA, scale })
}

/** [..., In] -> [rows, In] */
function flatten(x: Value): Value {
  const width = x.shape[x.shape.length - 1]
  return reshape(x, [sizeOf(x.shape) / width, width])
}

function swapLastAxes(x: Value): Value {
  const axes = x.shape.map((_, i) => i)
  return transpose(x, [...axes.slice(0, -2), axes.length - 1, axes.length - 2])
}
