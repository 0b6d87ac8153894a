import type { Shape } from "../../ground/shape.ts"
import { sameShape } from "../../ground/shape.ts"
import { node } from "../node.ts"
import type { Value } from "../value.ts"
import { isOp } from "../value.ts"
import { cast } from "./elementwise.ts"

/** The same elements under another shape of the same size. */
export function reshape(x: Value, shape: Shape): Value {
  return sameShape(x.shape, shape) ? x : node("reshape", [x], { shape })
}

/** Axes in another order: result axis i is axis `permutation[i]` of x. */
export function transpose(x: Value, permutation: readonly number[]): Value {
  return permutation.every((axis, i) => axis === i) ? x : node("transpose", [x], { permutation })
}

/** The places of a picture as rows: [B, C, H, W] -> [B, H W, C] */
export function toSequence(x: Value): Value {
  const [b, c, h, w] = x.shape
  return reshape(transpose(x, [0, 2, 3, 1]), [b, h * w, c])
}

/** Rows as the places of a picture: [B, H W, C] -> [B, C, H, W] */
export function toPicture(x: Value, height: number, width: number): Value {
  const [b, , c] = x.shape
  return transpose(reshape(x, [b, height, width, c]), [0, 3, 1, 2])
}

/** Values joined along one axis. */
export function concat(values: readonly Value[], axis: number): Value {
  return values.length === 1 ? values[0] : node("concat", values, { axis })
}

/** Elements start, start + step, ... before end along one axis; a negative step runs backwards to end = -1. */
export function slice(x: Value, axis: number, start: number, end: number, step = 1): Value {
  return start === 0 && end === x.shape[axis] && step === 1
    ? x
    : node("slice", [x], { axis, start, end, step })
}

/** Zeros before and after the elements of every axis. */
export function pad(x: Value, before: readonly number[], after: readonly number[]): Value {
  return [...before, ...after].every((n) => n === 0) ? x : node("pad", [x], { before, after })
}

/** x repeated along its axes of size 1, and along new leading axes, to fill the shape. */
export function expand(x: Value, shape: Shape): Value {
  return sameShape(x.shape, shape) ? x : node("expand", [x], { shape })
}

/** New axes of size 1 at the given places of the result. */
export function unsqueeze(x: Value, axes: readonly number[]): Value {
  const shape = [...x.shape]
  for (const axis of [...axes].sort((a, b) => a - b)) shape.splice(axis, 0, 1)
  return reshape(x, shape)
}

/**
 * Pictures enlarged by repeating the nearest pixel: out[y] = in[floor(y * inHeight / height)].
 *   x [B, C, H, W] -> [B, C, height, width]   (torch `interpolate(mode="nearest")`)
 */
export function upsampleNearest(x: Value, height: number, width: number): Value {
  return node("upsampleNearest", [x], { height, width })
}

/**
 * Rows of a table by their numbers: table [rows, D], ids [...] -> [..., D]. Of a table in another element type these rows
 * alone are cast: vocabularies are large.
 */
export function gatherRows(table: Value, ids: Value): Value {
  if (isOp(table, "cast")) return cast(gatherRows(table.inputs[0], ids), table.attributes.to)
  return node("gatherRows", [table, ids], {})
}

/** The opposite: a table of `rows` rows with every update added to the row of its id. */
export function scatterRows(updates: Value, ids: Value, rows: number): Value {
  return node("scatterRows", [updates, ids], { rows })
}
