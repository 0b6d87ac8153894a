import type { Value } from "../value.ts"
import { isOp } from "../value.ts"

/** Rows of a weight, all of them unless the model cuts it. */
export interface Piece {
  readonly name: string
  readonly rows?: readonly [start: number, end: number]
}

/** The weight that a value is, as it is stored or behind the cast of its numbers, as a float32 value of the graph. */
export function pieceOf(value: Value): Piece | undefined {
  const weight = isOp(value, "cast") ? value.inputs[0] : value
  return value.dtype === "float32" && isOp(weight, "weight") ? pieceAt(weight.attributes.path) : undefined
}

/** A piece's path in a graph: `name`, or `name[start:end]`. */
export function pathOf({ name, rows }: Piece): string {
  return rows === undefined ? name : `${name}[${rows.join(":")}]`
}

/** The piece that a weight's path in a graph names. */
export function pieceAt(path: string): Piece {
  const [, name, start, end] = /^(.*?)(?:\[(\d+):(\d+)\])?$/s.exec(path)!
  return start === undefined ? { name } : { name, rows: [Number(start), Number(end)] }
}
