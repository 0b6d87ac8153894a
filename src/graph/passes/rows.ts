import type { Shape } from "../../ground/shape.ts"
import { sameShape, sizeOf } from "../../ground/shape.ts"
import { node } from "../node.ts"
import { add } from "../ops/elementwise.ts"
import { concat, reshape, toPicture, toSequence } from "../ops/layout.ts"
import { matmul } from "../ops/products.ts"
import type { Attributes, Op, Value } from "../value.ts"
import { isOp } from "../value.ts"

/**
 * What stands for a value while its graph is rewritten: the value in its own layout, or for a picture [B, C, H, W] its places
 * as rows [B, H W, C], as products of matrices read and give them. The other one is made where something asks for it.
 */
export class Standing {
  #whole: Value | undefined
  #rows: Value | undefined
  readonly #shape: Shape

  constructor(shape: Shape, { whole, rows }: { readonly whole?: Value; readonly rows?: Value }) {
    this.#shape = shape
    this.#whole = whole
    this.#rows = rows
  }

  /** Whether there are rows already. */
  get inRows(): boolean {
    return this.#rows !== undefined
  }

  get whole(): Value {
    const [, , height, width] = this.#shape
    this.#whole ??= toPicture(this.#rows!, height, width)
    return this.#whole
  }

  get rows(): Value {
    this.#rows ??= toSequence(this.#whole!)
    return this.#rows
  }
}

/** What stands for the values of a graph so far. */
export type Standings = ReadonlyMap<Value, Standing>

/** Operators of one input that do the same to each element. */
const elementwise: ReadonlySet<Op> = new Set(["sigmoidGate", "gelu", "sigmoid", "tanh", "relu"])

/**
 * A picture's rows, where what it is made of is in rows: so a network of products and convolutions over rows stays in
 * them, and nothing is turned about between. Undefined where the operator works on whole pictures.
 */
export function rowsOf(value: Value, made: Standings): Value | undefined {
  if (value.shape.length !== 4) return undefined
  const [first, second, bias] = value.inputs.map((input) => made.get(input)!)
  if (isPictureOfRows(value)) return made.get(value.inputs[0].inputs[0])!.whole
  if (isOp(value, "add") && (first.inRows || second.inRows)) return sumInRows(value, first, second)
  if (isOp(value, "concat") && value.attributes.axis === 1 && first.inRows)
    return concat(
      value.inputs.map((input) => made.get(input)!.rows),
      2,
    )
  if (first === undefined || !first.inRows) return undefined
  if (isOp(value, "groupNorm"))
    return node("groupNormRows", [first.rows, second.whole, bias.whole], value.attributes)
  if (elementwise.has(value.op)) return node(value.op, [first.rows], value.attributes as Attributes[Op])
  if (isOp(value, "conv2d") && isPointwise(value)) {
    const { shape } = value.inputs[1]
    const product = matmul(first.rows, reshape(second.whole, shape.slice(0, 2)), { transB: true })
    return bias === undefined ? product : add(product, bias.whole)
  }
  return undefined
}

/** Rows [B, H W, C] that are made of a picture which is in rows itself. */
export function sequenceOf(value: Value, made: Standings): Value | undefined {
  const [moved] = value.inputs
  if (!isOp(value, "reshape") || !isOp(moved, "transpose")) return undefined
  if (!sameShape(moved.attributes.permutation, [0, 2, 3, 1])) return undefined
  const picture = made.get(moved.inputs[0])!
  const [b, c, h, w] = moved.inputs[0].shape
  return picture.inRows && sameShape(value.shape, [b, h * w, c]) ? picture.rows : undefined
}

/** Whether a kernel covers one place at a time, so that it is a product with a matrix. */
export function isPointwise({ inputs: [, weight], attributes }: Value<"conv2d">): boolean {
  const { stride, padding } = attributes
  return sizeOf(weight.shape.slice(2)) === 1 && stride === 1 && padding.every((side) => side === 0)
}

/** Rows as the places of a picture, as `toPicture` lays them out. */
function isPictureOfRows(value: Value): boolean {
  const [split] = value.inputs
  if (!isOp(value, "transpose") || !sameShape(value.attributes.permutation, [0, 3, 1, 2])) return false
  if (!isOp(split, "reshape")) return false
  const [b, h, w, c] = split.shape
  return sameShape(split.inputs[0].shape, [b, h * w, c])
}

/** Of two pictures, or of a picture and one number for each of its channels [B, C, 1, 1]. */
function sumInRows(value: Value, a: Standing, b: Standing): Value | undefined {
  const [x, y] = value.inputs
  if (sameShape(x.shape, y.shape)) return add(a.rows, b.rows)
  const [batch, channels, height, width] = y.shape
  return a.inRows && height === 1 && width === 1 && y.shape.length === 4
    ? add(a.rows, reshape(b.whole, [batch, 1, channels]))
    : undefined
}
