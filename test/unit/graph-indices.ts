import type { Shape } from "../../src/ground/shape.ts"
import { sizeOf } from "../../src/ground/shape.ts"

/** Numbers of any type, in double precision. */
export interface Numbers {
  readonly shape: Shape
  readonly data: Float64Array
}

/** Every index of a shape, in row-major order, and its place. */
export function forEachIndex(shape: Shape, visit: (index: readonly number[], at: number) => void): void {
  const count = sizeOf(shape)
  for (let at = 0; at < count; at++) {
    let rest = at
    const index = shape.slice()
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      index[axis] = rest % shape[axis]
      rest = (rest - index[axis]) / shape[axis]
    }
    visit(index, at)
  }
}

/** The place of an index of a shape. */
export function offset(shape: Shape, index: readonly number[]): number {
  let at = 0
  for (let axis = 0; axis < shape.length; axis++) at = at * shape[axis] + index[axis]
  return at
}

/** The place of an index of a broadcast result. */
export function broadcastOffset(shape: Shape, index: readonly number[]): number {
  const lead = index.length - shape.length
  let at = 0
  for (let axis = 0; axis < shape.length; axis++)
    at = at * shape[axis] + (shape[axis] === 1 ? 0 : index[axis + lead])
  return at
}
