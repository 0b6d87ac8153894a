import type { DType } from "../ground/dtype.ts"
import { LimnError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import { formatShape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"

/** Where a weight's bytes are: a byte range of a checkpoint file, or in memory. */
export type WeightStorage =
  | { readonly kind: "file"; readonly file: string; readonly offset: number; readonly length: number }
  | { readonly kind: "memory"; readonly tensor: Tensor }

/** [top, left, bottom, right] zero rows and columns around a picture. */
export type Padding2d = readonly [number, number, number, number]

/**
 * Every operator and its attributes. Three tables have one row for each: shape rules, gradient rules and
 * ONNX rules; a missing row does not compile.
 */
export interface Attributes {
  // Sources
  input: { readonly name: string }
  weight: { readonly path: string; readonly storage: WeightStorage }
  constant: { readonly tensor: Tensor }
  // Element by element
  add: Record<never, never>
  sub: Record<never, never>
  mul: Record<never, never>
  div: Record<never, never>
  neg: Record<never, never>
  exp: Record<never, never>
  log: Record<never, never>
  sqrt: Record<never, never>
  sin: Record<never, never>
  cos: Record<never, never>
  tanh: Record<never, never>
  sigmoid: Record<never, never>
  relu: Record<never, never>
  /** x * sigmoid(alpha * x): SiLU for alpha 1, CLIP's quick GELU for 1.702. */
  sigmoidGate: { readonly alpha: number }
  /** The exact GELU, x * Phi(x). */
  gelu: Record<never, never>
  erf: Record<never, never>
  cast: { readonly to: DType }
  // Products
  matmul: { readonly transA: boolean; readonly transB: boolean; readonly scale: number }
  /** x W^T of a weight in blocks of `blockSize` along its rows, each of integers of `bits` with one scale. */
  quantizedMatmul: { readonly bits: 4 | 8; readonly blockSize: number }
  conv2d: { readonly stride: number; readonly padding: Padding2d }
  /**
   * x W + b of a weight of integers with one scale a column; x is rounded to integers at every run, with one scale, or
   * `perRow` with one for each of its rows.
   */
  int8Matmul: { readonly perRow: boolean }
  /**
   * A convolution as such a product: of every place of the result, in rows, what the kernel covers there. x are the rows of a
   * picture of this size, which is doubled first where that is said.
   */
  int8Conv2d: {
    readonly size: readonly [height: number, width: number]
    readonly doubled: boolean
    readonly kernel: readonly [height: number, width: number]
    readonly stride: number
    readonly padding: Padding2d
  }
  convTranspose2d: {
    readonly stride: number
    readonly padding: Padding2d
    readonly outputPadding: readonly [number, number]
  }
  attention: { readonly heads: number; readonly scale: number }
  // Normalisations
  groupNorm: { readonly groups: number; readonly eps: number }
  /** The same over the places of pictures as rows, [B, H W, C]. */
  groupNormRows: { readonly groups: number; readonly eps: number }
  layerNorm: { readonly eps: number }
  rmsNorm: { readonly eps: number }
  softmax: Record<never, never>
  logSoftmax: Record<never, never>
  // Reductions
  reduceSum: { readonly axes: readonly number[]; readonly keepDims: boolean }
  reduceMean: { readonly axes: readonly number[]; readonly keepDims: boolean }
  // Moving elements about
  reshape: { readonly shape: Shape }
  transpose: { readonly permutation: readonly number[] }
  concat: { readonly axis: number }
  slice: { readonly axis: number; readonly start: number; readonly end: number; readonly step: number }
  pad: { readonly before: readonly number[]; readonly after: readonly number[] }
  expand: { readonly shape: Shape }
  upsampleNearest: { readonly height: number; readonly width: number }
  gatherRows: Record<never, never>
  scatterRows: { readonly rows: number }
}

export type Op = keyof Attributes

/**
 * One number array in a computation that has been described and not yet run. It carries what made it, so
 * the graph is whatever the outputs reach, and what nothing reaches is not there.
 */
export interface Value<P extends Op = Op> {
  readonly op: P
  readonly inputs: readonly Value[]
  readonly attributes: Attributes[P]
  readonly dtype: DType
  readonly shape: Shape
}

/** What a shape rule says of an operator's result. */
export interface ValueType {
  readonly dtype: DType
  readonly shape: Shape
}

/** Narrows a value to one operator, for code that walks graphs. */
export function isOp<P extends Op>(value: Value, op: P): value is Value<P> {
  return value.op === op
}

/** The attributes of any value as a plain record, for printing and comparing. */
export function attributesOf(value: Value): Readonly<Record<string, unknown>> {
  return value.attributes as Readonly<Record<string, unknown>>
}

/** `float32[1, 4, 64, 64]`. */
export function formatType(type: ValueType): string {
  return `${type.dtype}${formatShape(type.shape)}`
}

/** Throws the error of a call that cannot be: the operator's name first, as its caller knows it. */
export function refuse(op: Op, reason: string): never {
  throw new LimnError(`${op}: ${reason}.`)
}
