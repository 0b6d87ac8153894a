import type { Value } from "../value.ts"
import { isOp } from "../value.ts"

/** Rows of a weight, all of them unless the model cuts it, as a float32 value of the graph. */
export interface Piece {
  readonly name: string
  readonly rows?: readonly [start: number, end: number]
}

/** The weight that a value is, as it is stored or behind the cast of its numbers. */
export function pieceOf(value: Value): Piece | undefined {
  const weight = isOp(value, "cast") ? value.inputs[0] : value
  if (value.dtype !== "float32" || !isOp(weight, "weight")) return undefined
  const [, name, start, end] = /^(.*?)(?:\[(\d+):(\d+)\])?$/s.exec(weight.attributes.path)!
  return start === undefined ? { name } : { name, rows: [Number(start), Number(end)] }
}
