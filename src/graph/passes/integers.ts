import { sameShape } from "../../ground/shape.ts"
import { order } from "../build.ts"
import { node } from "../node.ts"
import { toPicture } from "../ops/layout.ts"
import type { Attributes, Op, Value } from "../value.ts"
import { isOp } from "../value.ts"
import type { Weights } from "../weights.ts"
import { pieceOf } from "./weight-piece.ts"

/** Layers over integers of eight bits in place of those over float32, for CPUs: weights and activations are rounded (W8A8). */

/** Fewer channels are those of latents and colours, at a network's two ends, where every digit shows. */
const LEAST_CHANNELS = 32

/**
 * The weights, by their full names, of the layers of the outputs that can be computed over integers; a piece of one has its
 * rows behind its name, `name[start:end]`.
 */
export function roundableWeights(outputs: Readonly<Record<string, Value>>): string[] {
  const names = order(Object.values(outputs)).map(roundableWeight)
  return [...new Set(names.filter((name) => name !== undefined))]
}

/**
 * The same outputs with layers over integers of eight bits, weights and what they read. `rounded` has of a weight `name`
 * the tensors `name.integers` (int8 [In, Out], of a convolution [kh kw In, Out]) and `name.scales` (float32 [Out]). A
 * layer whose weight it has not stays as it is. Comes after `updateWeights`.
 */
export function overIntegers(
  outputs: Readonly<Record<string, Value>>,
  rounded: Weights,
): Record<string, Value> {
  const made = new Map<Value, Value>()
  for (const value of order(Object.values(outputs))) {
    const inputs = value.inputs.map((x) => made.get(x)!)
    made.set(value, layerOf(value, inputs, rounded) ?? withoutDetour(unchanged(value, inputs)))
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, made.get(value)!]))
}

function unchanged(value: Value, inputs: readonly Value[]): Value {
  const same = inputs.every((x, i) => x === value.inputs[i])
  return same ? value : node(value.op, inputs, value.attributes as Attributes[Op])
}

function layerOf(value: Value, inputs: readonly Value[], rounded: Weights): Value | undefined {
  // A bias joins the product, which adds it in passing.
  if (isOp(value, "add") && isOp(inputs[0], "int8Matmul") && inputs[0].inputs.length === 3)
    if (value.inputs[1].shape.length === 1 && pieceOf(value.inputs[1]) !== undefined)
      return node("int8Matmul", [...inputs[0].inputs, inputs[1]], {})
  const name = roundableWeight(value)
  if (name === undefined || !rounded.has(name)) return undefined
  const folder = rounded.at(name)
  // As they are stored, not behind the cast to float32 that weights come with.
  const weight = [folder.get("integers").inputs[0], folder.get("scales")]
  const [x, , ...bias] = inputs
  if (!isOp(value, "conv2d")) return node("int8Matmul", [x, ...weight], {})
  const [, , height, width] = value.inputs[1].shape
  const { stride, padding } = value.attributes
  // A kernel of one place over what was rows already, as a transformer's, reads them as they are.
  const pointwise = height === 1 && width === 1 && stride === 1 && padding.every((side) => side === 0)
  const rows = pointwise ? rowsBehind(x) : undefined
  const product =
    rows === undefined
      ? node("int8Conv2d", [x, ...weight, ...bias], { kernel: [height, width], stride, padding })
      : node("int8Matmul", [rows, ...weight, ...bias], {})
  return toPicture(product, value.shape[2], value.shape[3])
}

/** The places of a picture as rows, as `toPicture` took them; undefined where it is no picture of rows. */
function rowsBehind(x: Value): Value | undefined {
  if (!isOp(x, "transpose") || !sameShape(x.attributes.permutation, [0, 3, 1, 2])) return undefined
  const [split] = x.inputs
  if (!isOp(split, "reshape")) return undefined
  const [b, h, w, c] = split.shape
  return sameShape(split.inputs[0].shape, [b, h * w, c]) ? split.inputs[0] : undefined
}

/** Rows that were made a picture of, and are to be rows again (`toSequence`), are left as they are. */
function withoutDetour(value: Value): Value {
  const [last] = value.inputs
  if (!isOp(value, "reshape") || !isOp(last, "transpose")) return value
  if (!sameShape(last.attributes.permutation, [0, 2, 3, 1])) return value
  const rows = rowsBehind(last.inputs[0])
  return rows !== undefined && sameShape(rows.shape, value.shape) ? rows : value
}

/** The name of the weight that a layer reads, if the layer bears rounding. */
function roundableWeight(value: Value): string | undefined {
  if (isOp(value, "conv2d")) {
    const [, { shape }] = value.inputs
    const wide = Math.min(shape[0], shape[1]) >= LEAST_CHANNELS
    return wide && !carriesOn(value) ? nameOf(value.inputs[1]) : undefined
  }
  if (!isOp(value, "matmul")) return undefined
  const { transA, transB, scale } = value.attributes
  const [x, weight] = value.inputs
  // A vector for each picture, as a time embedding's, reads a weight once for next to no work: rounding it saves no time.
  const sequences = x.shape.length > 2
  return !transA && transB && scale === 1 && weight.shape.length === 2 && sequences
    ? nameOf(weight)
    : undefined
}

/**
 * Whether a convolution hands on the sum that a network's blocks add to, as its shortcuts and its ways to half the size do,
 * rather than a block's own work on it. What is rounded there is never made good: of SD 1.4's error a third came from
 * these, for a twentieth of its work.
 */
function carriesOn({ inputs: [x, { shape }], attributes: { stride } }: Value<"conv2d">): boolean {
  const [, , height, width] = shape
  const summed = isOp(x, "add") || isOp(x, "concat") || isOp(x, "conv2d")
  return stride > 1 || (height === 1 && width === 1 && summed)
}

function nameOf(weight: Value): string | undefined {
  const piece = pieceOf(weight)
  return piece?.rows === undefined ? piece?.name : `${piece.name}[${piece.rows.join(":")}]`
}
