import { broadcastShapes, type Shape, sameShape } from "../../ground/shape.ts"
import { node } from "../node.ts"
import type { Value } from "../value.ts"
import { mul, sub } from "./elementwise.ts"
import { reshape } from "./layout.ts"

/** Sum over the axes, which stay as size 1 or go. All axes unless given. */
export function reduceSum(x: Value, axes: readonly number[] = allAxes(x), { keepDims = false } = {}): Value {
  return axes.length === 0 ? x : node("reduceSum", [x], { axes, keepDims })
}

/** Mean over the axes, which stay as size 1 or go. All axes unless given. */
export function reduceMean(x: Value, axes: readonly number[] = allAxes(x), { keepDims = false } = {}): Value {
  return axes.length === 0 ? x : node("reduceMean", [x], { axes, keepDims })
}

/** The transpose of broadcasting: x summed down to a shape that broadcasts to x's. */
export function sumTo(x: Value, shape: Shape): Value {
  if (sameShape(x.shape, shape)) return x
  const lead = x.shape.length - shape.length
  const axes = x.shape.map((_, i) => i).filter((i) => i < lead || (shape[i - lead] === 1 && x.shape[i] !== 1))
  if (!broadcastShapes(shape, x.shape)) throw new Error("sumTo: shapes do not broadcast")
  return reshape(reduceSum(x, axes), shape)
}

/** Mean over all elements of (a - b)^2, a scalar. */
export function meanSquaredError(a: Value, b: Value): Value {
  const difference = sub(a, b)
  return reduceMean(mul(difference, difference))
}

function allAxes(x: Value): number[] {
  return x.shape.map((_, i) => i)
}
