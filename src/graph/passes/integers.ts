import { order } from "../build.ts"
import { node } from "../node.ts"
import { concat } from "../ops/layout.ts"
import type { Attributes, Op, Rounding, Value } from "../value.ts"
import { isOp } from "../value.ts"
import type { Weights } from "../weights.ts"
import { pieceOf } from "./weight-piece.ts"

/** The lowest and the highest number that was seen at a place of a network. */
export type Range = readonly [low: number, high: number]

/** What a convolution reads and gives. */
export interface ConvolutionRanges {
  readonly input: Range
  readonly output: Range
}

/** Ranges of convolutions by the full names of their weights. */
export type Ranges = ReadonlyMap<string, ConvolutionRanges>

/** What is worth rounding in a graph, by the full names of the weights. */
export interface Roundable {
  readonly convolutions: readonly string[]
  /** Products with a weight. */
  readonly products: readonly string[]
}

/** Fewer channels are those of latents and colours, at a network's two ends, where every digit shows. */
const LEAST_CHANNELS = 32
/** Products of fewer rows read their weight once for little work, and rounding it saves no time. */
const LEAST_ROWS = 16

/** The layers of the outputs that can be computed over integers. */
export function roundableLayers(outputs: Readonly<Record<string, Value>>): Roundable {
  const values = order(Object.values(outputs))
  const names = (weightOf: (value: Value) => string | undefined) => [
    ...new Set(values.map(weightOf).filter((name) => name !== undefined)),
  ]
  return { convolutions: names(convolutionWeight), products: names(productWeight) }
}

/**
 * The same outputs and one more, `ranges` [n, 4]: of each convolution of `roundableLayers`, in its order, the lowest and the
 * highest number of what it reads, and of what it gives.
 */
export function observeRanges(outputs: Readonly<Record<string, Value>>): Record<string, Value> {
  const rows = new Map<string, Value>()
  for (const value of order(Object.values(outputs))) {
    const name = convolutionWeight(value)
    if (name === undefined) continue
    const [input, output] = [value.inputs[0], value].map((x) => node("range", [x], {}))
    rows.set(name, concat([input, output], 0))
  }
  const ranges = node("reshape", [concat([...rows.values()], 0)], { shape: [rows.size, 4] })
  return { ...outputs, ranges }
}

/**
 * The same outputs with layers over integers of eight bits, weights and what they read. `rounded` has of a weight `name`
 * the tensor `name.integers` (int8, of a convolution [Out, In, kh, kw], of a product the transpose [In, Out]) and
 * `name.scales` (float32 [Out]); a convolution also has `name.bias` (int32 [Out], in units of its integers' products). A
 * layer whose weight it has not stays as it is. Comes after `updateWeights`.
 */
export function overIntegers(
  outputs: Readonly<Record<string, Value>>,
  rounded: Weights,
  ranges: Ranges,
): Record<string, Value> {
  const made = new Map<Value, Value>()
  for (const value of order(Object.values(outputs))) {
    const inputs = value.inputs.map((x) => made.get(x)!)
    made.set(value, layerOf(value, inputs, rounded, ranges) ?? unchanged(value, inputs))
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, made.get(value)!]))
}

function unchanged(value: Value, inputs: readonly Value[]): Value {
  const same = inputs.every((x, i) => x === value.inputs[i])
  return same ? value : node(value.op, inputs, value.attributes as Attributes[Op])
}

function layerOf(
  value: Value,
  inputs: readonly Value[],
  rounded: Weights,
  ranges: Ranges,
): Value | undefined {
  const product = productWeight(value)
  if (product !== undefined && rounded.has(product)) {
    const folder = rounded.at(product)
    return node("int8Matmul", [inputs[0], storedIn(folder, "integers"), folder.get("scales")], {})
  }
  // A bias joins the product, which adds it in passing.
  if (isOp(value, "add") && isOp(inputs[0], "int8Matmul") && inputs[0].inputs.length === 3)
    if (value.inputs[1].shape.length === 1 && pieceOf(value.inputs[1]) !== undefined)
      return node("int8Matmul", [...inputs[0].inputs, inputs[1]], {})
  const convolution = convolutionWeight(value)
  const range = convolution === undefined ? undefined : ranges.get(convolution)
  if (range === undefined || !isOp(value, "conv2d")) return undefined
  const folder = rounded.at(convolution!)
  const weights = [storedIn(folder, "integers"), folder.get("scales"), storedIn(folder, "bias")]
  return node("int8Conv2d", [inputs[0], ...weights], {
    ...value.attributes,
    input: roundingOf(range.input),
    output: roundingOf(range.output),
  })
}

/** A tensor as it is stored, not behind the cast to float32 that weights come with. */
function storedIn(weights: Weights, name: string): Value {
  return weights.get(name).inputs[0]
}

/** How numbers of a range are rounded: 0 stays 0, as the padding of convolutions needs. */
export function roundingOf([low, high]: Range): Rounding {
  const bottom = Math.min(low, 0)
  const scale = (Math.max(high, 0) - bottom) / 255 || 1
  return { scale: Math.fround(scale), zero: Math.round(-bottom / scale) }
}

function convolutionWeight(value: Value): string | undefined {
  if (!isOp(value, "conv2d")) return undefined
  const [, weight] = value.inputs
  const piece = pieceOf(weight)
  const channels = Math.min(weight.shape[0], weight.shape[1])
  return piece?.rows === undefined && channels >= LEAST_CHANNELS ? piece?.name : undefined
}

function productWeight(value: Value): string | undefined {
  if (!isOp(value, "matmul")) return undefined
  const { transA, transB, scale } = value.attributes
  const [x, weight] = value.inputs
  if (transA || !transB || scale !== 1 || weight.shape.length !== 2) return undefined
  const piece = pieceOf(weight)
  return piece?.rows === undefined && x.shape[x.shape.length - 2] >= LEAST_ROWS ? piece?.name : undefined
}
