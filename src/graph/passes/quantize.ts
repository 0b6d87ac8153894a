import type { BlockFormat } from "../../ground/block-integers.ts"
import { hadamard } from "../../ground/hadamard.ts"
import { sizeOf } from "../../ground/shape.ts"
import { float32 } from "../../ground/tensor.ts"
import { order } from "../build.ts"
import { constant, node, withInputs } from "../node.ts"
import { add } from "../ops/elementwise.ts"
import { reshape, slice } from "../ops/layout.ts"
import { matmul } from "../ops/products.ts"
import type { Value } from "../value.ts"
import { isOp } from "../value.ts"
import type { Weights } from "../weights.ts"
import type { Piece } from "./weight-piece.ts"
import { pathOf, pieceOf } from "./weight-piece.ts"

/** Products of a text encoder's linear layers over integers, in two forms. */

/** Numbers of a row that are turned together, so that one that stands out makes the others' steps no larger. */
export const TURNED_TOGETHER = 128

/** Full names of the matrices [Out, In] of linear layers that can be stored in blocks of this size along their rows. */
export function quantizableWeights(
  outputs: Readonly<Record<string, Value>>,
  { blockSize }: Pick<BlockFormat, "blockSize">,
): string[] {
  return [...new Set(linearPieces(outputs, blockSize).map(({ name }) => name))]
}

/** The same for products of turned rows; a piece of a matrix has its rows behind its name, `name[start:end]`. */
export function turnableWeights(outputs: Readonly<Record<string, Value>>): string[] {
  return [...new Set(linearPieces(outputs, TURNED_TOGETHER).map(pathOf))]
}

/**
 * The same outputs, with the products of linear layers over integers. `quantized` holds for a weight `name` of the graph the
 * tensors `name.integers` (uint8 [Out, In / blockSize, blockSize * bits / 8]) and `name.scales` (float32 [Out, In /
 * blockSize]); a layer whose weight it has not stays as it is. Comes after `updateWeights`.
 */
export function quantizeProducts(
  outputs: Readonly<Record<string, Value>>,
  quantized: Weights,
  { bits, blockSize }: BlockFormat,
): Record<string, Value> {
  return withProducts(outputs, (x, { name, rows: cut }) => {
    if (!quantized.has(name)) return undefined
    const folder = quantized.at(name)
    const rows = cut ? folder.rows(...cut) : folder
    return node("quantizedMatmul", [x, stored(rows), rows.get("scales")], { bits, blockSize })
  })
}

/**
 * The same outputs, with the products of linear layers over integers of eight bits, weights and what they read, both turned
 * in blocks (QuaRot, Ashkboos et al. 2024), since some channels of a language model are a hundred times as large as the
 * others. `rounded` has of a weight `name` the tensors `name.integers` (int8 [In, Out], each column turned) and `name.scales`
 * (float32 [Out]), or of one that is rounded twice [In, 2 Out] and [2 Out], the second half to be added; a layer whose weight
 * it has not stays as it is. For a CPU that `sumsIntegers`; comes after `updateWeights`.
 */
export function turnProducts(
  outputs: Readonly<Record<string, Value>>,
  rounded: Weights,
): Record<string, Value> {
  const matrix = constant(float32([TURNED_TOGETHER, TURNED_TOGETHER], hadamard(TURNED_TOGETHER)))
  const made = new Map<Value, Value>()
  const turned = (x: Value) => {
    const blocks = reshape(x, [sizeOf(x.shape) / TURNED_TOGETHER, TURNED_TOGETHER])
    const rows = made.get(x) ?? reshape(matmul(blocks, matrix), x.shape)
    made.set(x, rows)
    return rows
  }
  return withProducts(outputs, (x, piece, columns) => {
    const path = pathOf(piece)
    if (!rounded.has(path)) return undefined
    const folder = rounded.at(path)
    const product = node("int8Matmul", [turned(x), stored(folder), folder.get("scales")], { perRow: true })
    return product.shape.at(-1) === columns ? product : halvesAdded(product, columns)
  })
}

/** The first columns of a product and the others, which are as many. */
function halvesAdded(product: Value, columns: number): Value {
  const axis = product.shape.length - 1
  return add(slice(product, axis, 0, columns), slice(product, axis, columns, 2 * columns))
}

/** A weight's integers as they are stored, not behind the cast to float32 that weights come with. */
function stored(folder: Weights): Value {
  return folder.get("integers").inputs[0]
}

/** The same outputs, with what `make` gives of a linear layer's input, weight and outputs in place of their product. */
function withProducts(
  outputs: Readonly<Record<string, Value>>,
  make: (x: Value, piece: Piece, columns: number) => Value | undefined,
): Record<string, Value> {
  const made = new Map<Value, Value>()
  for (const value of order(Object.values(outputs))) {
    const inputs = value.inputs.map((x) => made.get(x)!)
    const piece = linearPiece(value)
    made.set(value, (piece && make(inputs[0], piece, value.inputs[1].shape[0])) ?? withInputs(value, inputs))
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, made.get(value)!]))
}

/** The weights of the linear layers whose rows are whole blocks. */
function linearPieces(outputs: Readonly<Record<string, Value>>, blockSize: number): Piece[] {
  return order(Object.values(outputs)).flatMap((value) => {
    const piece = linearPiece(value)
    return piece !== undefined && value.inputs[1].shape[1] % blockSize === 0 ? [piece] : []
  })
}

/** The weight of a linear layer's product, where that is what a value is. */
function linearPiece(value: Value): Piece | undefined {
  if (!isOp(value, "matmul")) return undefined
  const { transA, transB, scale } = value.attributes
  const [, weight] = value.inputs
  return !transA && transB && scale === 1 && weight.shape.length === 2 ? pieceOf(weight) : undefined
}
