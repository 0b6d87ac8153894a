import { order } from "../build.ts"
import { node, withInputs } from "../node.ts"
import type { Value } from "../value.ts"
import { isOp } from "../value.ts"
import type { Weights } from "../weights.ts"
import type { Standings } from "./rows.ts"
import { isPointwise, rowsOf, Standing, sequenceOf } from "./rows.ts"
import { pathOf, pieceOf } from "./weight-piece.ts"

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
 * layer whose weight it has not stays as it is. Pictures between such layers are rows. Comes after `updateWeights`.
 */
export function overIntegers(
  outputs: Readonly<Record<string, Value>>,
  rounded: Weights,
): Record<string, Value> {
  const made = new Map<Value, Standing>()
  for (const value of order(Object.values(outputs))) {
    const rows = convolutionOf(value, made, rounded) ?? rowsOf(value, made)
    const standing =
      rows === undefined
        ? { whole: productOf(value, made, rounded) ?? sequenceOf(value, made) ?? wholeOf(value, made) }
        : { rows }
    made.set(value, new Standing(value.shape, standing))
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, made.get(value)!.whole]))
}

function wholeOf(value: Value, made: Standings): Value {
  return withInputs(
    value,
    value.inputs.map((x) => made.get(x)!.whole),
  )
}

/** The integers and the scales of the weight that a layer reads; undefined where it is not rounded. */
function weightOf(value: Value, rounded: Weights): readonly [integers: Value, scales: Value] | undefined {
  const name = roundableWeight(value)
  if (name === undefined || !rounded.has(name)) return undefined
  const folder = rounded.at(name)
  // As they are stored, not behind the cast to float32 that weights come with.
  return [folder.get("integers").inputs[0], folder.get("scales")]
}

function productOf(value: Value, made: Standings, rounded: Weights): Value | undefined {
  if (isOp(value, "matmul")) {
    const weight = weightOf(value, rounded)
    return weight && node("int8Matmul", [made.get(value.inputs[0])!.whole, ...weight], { perRow: false })
  }
  if (!isOp(value, "add")) return undefined
  // A bias joins the product, which adds it in passing.
  const [x, bias] = value.inputs.map((input) => made.get(input)!.whole)
  const unbiased = isOp(x, "int8Matmul") && x.inputs.length === 3
  return unbiased && bias.shape.length === 1 && pieceOf(value.inputs[1]) !== undefined
    ? node("int8Matmul", [...x.inputs, bias], x.attributes)
    : undefined
}

/** The rows of what a rounded convolution gives. */
function convolutionOf(value: Value, made: Standings, rounded: Weights): Value | undefined {
  if (!isOp(value, "conv2d")) return undefined
  const weight = weightOf(value, rounded)
  if (weight === undefined) return undefined
  const [x, { shape }, bias] = value.inputs
  const operands = bias === undefined ? weight : [...weight, made.get(bias)!.whole]
  if (isPointwise(value)) return node("int8Matmul", [made.get(x)!.rows, ...operands], { perRow: false })
  // What is doubled in size is rounded before, when it is a quarter of the numbers.
  const doubled =
    isOp(x, "upsampleNearest") && [2, 3].every((axis) => x.shape[axis] === 2 * x.inputs[0].shape[axis])
  const source = doubled ? x.inputs[0] : x
  const [, , height, width] = source.shape
  return node("int8Conv2d", [made.get(source)!.rows, ...operands], {
    ...value.attributes,
    size: [height, width],
    doubled,
    kernel: [shape[2], shape[3]],
  })
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
function carriesOn(value: Value<"conv2d">): boolean {
  const [x] = value.inputs
  const summed = isOp(x, "add") || isOp(x, "concat") || isOp(x, "conv2d")
  return value.attributes.stride > 1 || (isPointwise(value) && summed)
}

function nameOf(weight: Value): string | undefined {
  const piece = pieceOf(weight)
  return piece && pathOf(piece)
}
