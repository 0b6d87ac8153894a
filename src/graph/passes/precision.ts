import { float32, toFloat32, toHalf } from "../../ground/tensor.ts"
import { order } from "../build.ts"
import { constant, node } from "../node.ts"
import { cast } from "../ops/elementwise.ts"
import type { Attributes, Op, Value } from "../value.ts"
import { isOp } from "../value.ts"

/**
 * What an operator computes in, when its graph is float32 and is to run in half precision:
 *   half     float16
 *   full     float32, its result rounded: sums of many terms, and functions that leave float16's range
 *   angle    float32, and so is all that it is computed from: the sine of a timestep has no digit to lose
 *   source   nothing: it is there already
 */
type Computes = "half" | "full" | "angle" | "source"

const computesIn: { readonly [P in Op]: Computes } = {
  input: "source",
  weight: "source",
  constant: "source",

  add: "half",
  sub: "half",
  mul: "half",
  div: "half",
  neg: "half",
  exp: "full",
  log: "full",
  sqrt: "full",
  sin: "angle",
  cos: "angle",
  tanh: "half",
  sigmoid: "half",
  relu: "half",
  sigmoidGate: "half",
  gelu: "half",
  erf: "half",
  cast: "half",

  // Kernels accumulate these in float32.
  matmul: "half",
  quantizedMatmul: "half",
  conv2d: "half",
  int8Matmul: "full",
  int8Conv2d: "full",
  convTranspose2d: "half",
  attention: "half",

  groupNorm: "half",
  groupNormRows: "full",
  layerNorm: "half",
  rmsNorm: "full",
  softmax: "full",
  logSoftmax: "full",

  reduceSum: "full",
  reduceMean: "full",

  reshape: "half",
  transpose: "half",
  concat: "half",
  slice: "half",
  pad: "half",
  expand: "half",
  upsampleNearest: "half",
  gatherRows: "half",
  scatterRows: "full",
}

type InPrecision = (x: Value, precision: "float32" | "float16") => Value

/** The largest finite float16. */
const LARGEST = 65504

/**
 * The same outputs computed in float16 where that is safe. Inputs and outputs keep their types, so a session is fed
 * and read as before. Weights that are stored as float16 are used as they are.
 */
export function toHalfPrecision(outputs: Readonly<Record<string, Value>>): Record<string, Value> {
  const values = order(Object.values(outputs))
  const exact = angles(values)
  const half = new Map<Value, Value>()
  const casts = { float32: new Map<Value, Value>(), float16: new Map<Value, Value>() }
  /** A float32 value of the old graph as the new graph has it, in either precision; any other value as it is. */
  const as: InPrecision = (x, precision) => {
    const rewritten = half.get(x)!
    if (x.dtype !== "float32") return rewritten
    const made = casts[precision].get(rewritten) ?? rounded(rewritten, precision)
    casts[precision].set(rewritten, made)
    return made
  }
  for (const value of values) half.set(value, rewrite(value, as, exact))
  return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, as(value, "float32")]))
}

/** Angles and everything that they are computed from. */
function angles(values: readonly Value[]): Set<Value> {
  const found = new Set<Value>()
  for (const value of values.toReversed())
    if (computesIn[value.op] === "angle" || found.has(value)) {
      found.add(value)
      for (const x of value.inputs) found.add(x)
    }
  return found
}

function rewrite(value: Value, as: InPrecision, exact: ReadonlySet<Value>): Value {
  if (computesIn[value.op] === "source") return value
  if (isOp(value, "cast")) return castOf(value, as, exact)
  const full = exact.has(value) || computesIn[value.op] === "full"
  const inputs = value.inputs.map((x) => as(x, full ? "float32" : "float16"))
  const result = node(value.op, inputs, value.attributes as Attributes[Op])
  return full && !exact.has(value) && value.dtype === "float32" ? cast(result, "float16") : result
}

/** A cast to float32 becomes one to float16: of a weight that is stored so, none at all. */
function castOf(value: Value<"cast">, as: InPrecision, exact: ReadonlySet<Value>): Value {
  const [x] = value.inputs
  const { to } = value.attributes
  const source = as(x, "float32")
  return cast(source, to === "float32" && !exact.has(value) ? "float16" : to)
}

function rounded(x: Value, dtype: "float32" | "float16"): Value {
  if (!isOp(x, "constant") || x.dtype === dtype) return cast(x, dtype)
  const numbers = toFloat32(x.attributes.tensor)
  if (dtype !== "float16") return constant(numbers)
  // Infinity times zero is no number: what stands for "nothing" in a mask must stay finite.
  const finite = numbers.data.map((v) => Math.max(-LARGEST, Math.min(LARGEST, v)))
  return constant(toHalf(float32(numbers.shape, finite), "float16"))
}
