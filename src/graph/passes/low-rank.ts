import type { Shape } from "../../ground/shape.ts"
import { sizeOf } from "../../ground/shape.ts"
import { order } from "../build.ts"
import { node, withInputs } from "../node.ts"
import { add, mul } from "../ops/elementwise.ts"
import { concat, reshape, slice } from "../ops/layout.ts"
import { convolve, matmul } from "../ops/products.ts"
import type { Attributes, Value } from "../value.ts"
import { isOp } from "../value.ts"
import type { Weights } from "../weights.ts"
import type { Piece } from "./weight-piece.ts"
import { pieceOf } from "./weight-piece.ts"

/**
 * What was trained on top of one weight [Out, In, ...kernel]:
 *   low-rank   the layer's output gains scale * up(mid(down(x))), and the weight stays as it is. `factors` hold `down`
 *              [R, In, ...kernel] and `up` [Out, R]; with `mid` [R, S, ...kernel] between, `down` is [S, In]
 *   delta      the weight itself gains `delta(weight)`, of its shape, at every run
 *   attention  the weight makes keys [B, S, C], and the attention over them gains `attend(queries)`, of its own shape
 */
export type WeightUpdate =
  | { readonly kind: "low-rank"; readonly factors: Weights; readonly scale: Value }
  | { readonly kind: "delta"; readonly delta: (weight: Value) => Value }
  | { readonly kind: "attention"; readonly attend: Attend }

/** What else queries [B, T, C] attend to, in the heads and at the scale of the attention beside it. */
export type Attend = (queries: Value, options: { readonly heads: number; readonly scale: number }) => Value

/** Updates by the full names of the weights. */
export type WeightUpdates = ReadonlyMap<string, readonly WeightUpdate[]>

/** Several updates as one: those of one weight one after the other. */
export function joinUpdates(all: readonly WeightUpdates[]): WeightUpdates {
  const joined = new Map<string, readonly WeightUpdate[]>()
  for (const updates of all)
    for (const [name, more] of updates) joined.set(name, [...(joined.get(name) ?? []), ...more])
  return joined
}

/**
 * The same outputs with the weights of linear layers and convolutions updated (Hu et al. 2021: LoRA; PEFT's layers
 * before they are merged), and attention widened by what their queries attend to besides. Updates of weights that the
 * outputs do not reach do nothing. Comes before `toHalfPrecision`.
 */
export function updateWeights(
  outputs: Readonly<Record<string, Value>>,
  updates: WeightUpdates,
): Readonly<Record<string, Value>> {
  if (updates.size === 0) return outputs
  const values = order(Object.values(outputs))
  const updated = updatedWeights(values, updates)
  const made = new Map<Value, Value>()
  for (const value of values) {
    const inputs = value.inputs.map((x) => made.get(x)!)
    const result = updated.get(value) ?? withInputs(value, inputs)
    const layered = withLowRank(value, result, inputs[0], updates)
    made.set(value, withAttention(value, layered, inputs[0], updates))
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, made.get(value)!]))
}

/** What stands for each weight that is updated in place: of a weight in pieces, each piece of the whole's update. */
function updatedWeights(values: readonly Value[], updates: WeightUpdates): Map<Value, Value> {
  const pieces = new Map<string, { readonly value: Value; readonly start: number }[]>()
  for (const value of values) {
    const piece = pieceOf(value)
    if (piece === undefined || deltasOf(updates, piece.name).length === 0) continue
    const start = piece.rows?.[0] ?? 0
    pieces.set(piece.name, [...(pieces.get(piece.name) ?? []), { value, start }])
  }
  const updated = new Map<Value, Value>()
  for (const [name, found] of pieces) {
    const whole = concat(
      found.toSorted((a, b) => a.start - b.start).map(({ value }) => value),
      0,
    )
    const sum = deltasOf(updates, name).reduce((total, delta) => add(total, delta(whole)), whole)
    for (const { value, start } of found) updated.set(value, slice(sum, 0, start, start + value.shape[0]))
  }
  return updated
}

function deltasOf(updates: WeightUpdates, name: string): ((weight: Value) => Value)[] {
  return (updates.get(name) ?? []).flatMap((update) => (update.kind === "delta" ? [update.delta] : []))
}

/** A layer's result with what its weight's small layers add to it. */
function withLowRank(value: Value, result: Value, x: Value, updates: WeightUpdates): Value {
  const layer = layerOf(value)
  if (layer === undefined) return result
  const piece = pieceOf(value.inputs[1])
  let sum = result
  for (const update of (piece && updates.get(piece.name)) ?? [])
    if (update.kind === "low-rank") sum = add(sum, layer(x, value.inputs[1].shape, update, piece?.rows))
  return sum
}

/** An attention with what else its queries attend to, where that is trained on top of the weight that makes its keys. */
function withAttention(value: Value, result: Value, queries: Value, updates: WeightUpdates): Value {
  if (!isOp(value, "attention")) return result
  const [, keys] = value.inputs
  const piece = isOp(keys, "matmul") ? pieceOf(keys.inputs[1]) : undefined
  let sum = result
  for (const update of (piece && updates.get(piece.name)) ?? [])
    if (update.kind === "attention") sum = add(sum, update.attend(queries, value.attributes))
  return sum
}

type LowRank = Extract<WeightUpdate, { readonly kind: "low-rank" }>
type Layer = (x: Value, weight: Shape, update: LowRank, rows: Piece["rows"]) => Value

/** How small layers stand beside the layer that a value is; undefined for all but linear layers and convolutions. */
function layerOf(value: Value): Layer | undefined {
  if (isOp(value, "matmul")) {
    const { transA, transB } = value.attributes
    return !transA && transB ? besideLinear : undefined
  }
  if (isOp(value, "conv2d")) return besideConvolution(value.attributes)
  return undefined
}

const besideLinear: Layer = (x, [out, wide], { factors, scale }, rows) => {
  const h = matmul(x, withColumns(factors.get("down"), [wide]), { transB: true })
  const up = (rows ? factors.rows(...rows) : factors).get("up")
  return matmul(mul(h, scale), reshape(up, [out, sizeOf(up.shape) / out]), { transB: true })
}

const besideConvolution =
  (attributes: Attributes["conv2d"]): Layer =>
  (x, [out, channels, ...kernel], { factors, scale }, rows) => {
    let h: Value
    if (factors.has("mid")) {
      h = convolve(x, withColumns(factors.get("down"), [channels, 1, 1]), undefined)
      h = node("conv2d", [h, withColumns(factors.get("mid"), [h.shape[1], ...kernel])], attributes)
    } else {
      h = node("conv2d", [x, withColumns(factors.get("down"), [channels, ...kernel])], attributes)
    }
    const up = (rows ? factors.rows(...rows) : factors).get("up")
    return convolve(mul(h, scale), reshape(up, [out, sizeOf(up.shape) / out, 1, 1]), undefined)
  }

/** A factor, which may be stored as a matrix or as a kernel, with rows of this shape. */
function withColumns(factor: Value, each: Shape): Value {
  return reshape(factor, [sizeOf(factor.shape) / sizeOf(each), ...each])
}
