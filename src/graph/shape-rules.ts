import type { DType } from "../ground/dtype.ts"
import { broadcastShapes, formatShape, type Shape, sameShape, sizeOf } from "../ground/shape.ts"
import { convolvedSize } from "./convolved-size.ts"
import { type Attributes, formatType, type Op, refuse, type Value, type ValueType } from "./value.ts"

/** Type of the result of one operator, or an error that says what does not fit. */
export type ShapeRule<P extends Op> = (
  inputs: readonly Value[],
  attributes: Attributes[P],
  op: P,
) => ValueType

const same = ([x]: readonly Value[]): ValueType => ({ dtype: x.dtype, shape: x.shape })

const real = (inputs: readonly Value[], _: unknown, op: Op): ValueType => {
  checkReal(op, inputs)
  return same(inputs)
}

const overLastAxis = (inputs: readonly Value[], _: unknown, op: Op): ValueType => {
  if (inputs[0].shape.length === 0) refuse(op, `${formatType(inputs[0])} has no last axis`)
  return real(inputs, _, op)
}

const binary = ([a, b]: readonly Value[], _: unknown, op: Op): ValueType => {
  if (a.dtype !== b.dtype) refuse(op, `${formatType(a)} and ${formatType(b)} have different element types`)
  const shape = broadcastShapes(a.shape, b.shape)
  return {
    dtype: a.dtype,
    shape: shape ?? refuse(op, `${formatType(a)} and ${formatType(b)} do not broadcast`),
  }
}

const reduce = ([x]: readonly Value[], { axes, keepDims }: Attributes["reduceSum"], op: Op): ValueType => {
  for (const axis of axes) checkAxis(op, x, axis)
  if (new Set(axes).size < axes.length)
    refuse(op, `${formatShape(axes)} names an axis of ${formatType(x)} twice`)
  const shape = keepDims
    ? x.shape.map((d, i) => (axes.includes(i) ? 1 : d))
    : x.shape.filter((_, i) => !axes.includes(i))
  return { dtype: x.dtype, shape }
}

/** Result types of all operators. Each row checks everything that can be known before the graph runs. */
export const shapeRules: { readonly [P in Op]: ShapeRule<P> } = {
  input: () => refuse("input", "is made by `input`, not by a rule"),
  weight: () => refuse("weight", "is made by `Weights`, not by a rule"),
  constant: (_, { tensor }) => ({ dtype: tensor.dtype, shape: tensor.shape }),

  add: binary,
  sub: binary,
  mul: binary,
  div: binary,
  neg: same,
  exp: real,
  log: real,
  sqrt: real,
  sin: real,
  cos: real,
  tanh: real,
  sigmoid: real,
  relu: real,
  sigmoidGate: real,
  gelu: real,
  erf: real,
  cast: ([x], { to }) => ({ dtype: to, shape: x.shape }),

  matmul: ([a, b], { transA, transB }, op) => {
    const rank = a.shape.length
    if (rank < 2 || b.shape.length < 2)
      refuse(op, `${formatType(a)} x ${formatType(b)}: both need at least two axes`)
    checkReal(op, [a, b])
    const [m, k] = lastTwo(a.shape, transA)
    const [k2, n] = lastTwo(b.shape, transB)
    if (k !== k2)
      refuse(
        op,
        `${formatType(a)}${transA ? "ᵀ" : ""} x ${formatType(b)}${transB ? "ᵀ" : ""}: ${k} is not ${k2}`,
      )
    const batch = a.shape.slice(0, -2)
    if (b.shape.length > 2 && !sameShape(batch, b.shape.slice(0, -2)))
      refuse(op, `${formatType(a)} x ${formatType(b)}: the batch axes differ`)
    return { dtype: a.dtype, shape: [...batch, m, n] }
  },
  quantizedMatmul: ([x, w, scales], { bits, blockSize }, op) => {
    checkReal(op, [x, scales])
    const [out, blocks, bytes] = w.shape
    const wide = x.shape[x.shape.length - 1]
    if (w.dtype !== "uint8" || w.shape.length !== 3 || bytes * 8 !== blockSize * bits)
      refuse(op, `the weight ${formatType(w)} is not in blocks of ${blockSize} integers of ${bits} bits`)
    if (x.shape.length < 2 || blocks * blockSize !== wide)
      refuse(op, `${blocks} blocks of ${blockSize} do not take ${formatType(x)}`)
    if (!sameShape(scales.shape, [out, blocks]))
      refuse(op, `the scales ${formatType(scales)} are not one for each block of ${formatType(w)}`)
    return { dtype: x.dtype, shape: [...x.shape.slice(0, -1), out] }
  },
  conv2d: (inputs, options, op) => {
    const [x, w, bias]: readonly (Value | undefined)[] = inputs
    checkReal(op, inputs)
    return convolved(op, x, w, bias, options)
  },
  int8Matmul: (inputs, _, op) => {
    const [x] = inputs
    if (x.shape.length < 2) refuse(op, `${formatType(x)} is not a matrix`)
    const columns = integerColumns(op, inputs, x.shape[x.shape.length - 1])
    return { dtype: x.dtype, shape: [...x.shape.slice(0, -1), columns] }
  },
  int8Conv2d: (inputs, { size, doubled, kernel, ...options }, op) => {
    const [x] = inputs
    checkSizes(op, "size", size, 1)
    checkSizes(op, "kernel", kernel, 1)
    if (x.shape.length !== 3 || x.shape[1] !== sizeOf(size))
      refuse(op, `${formatType(x)} is not the rows of a picture of ${size.join("x")}`)
    const read = doubled ? size.map((side) => 2 * side) : size
    const places = sizeOf(convolvedPlaces(op, x, read, kernel, options))
    const columns = integerColumns(op, inputs, kernel[0] * kernel[1] * x.shape[2])
    return { dtype: x.dtype, shape: [x.shape[0], places, columns] }
  },
  convTranspose2d: ([x, w], { stride, padding, outputPadding }, op) => {
    checkPicture(op, x)
    checkReal(op, [x, w])
    checkSizes(op, "stride", [stride], 1)
    checkSizes(op, "padding", padding)
    checkSizes(op, "outputPadding", outputPadding)
    const [b, channels, height, width] = x.shape
    const [inChannels, out, kh, kw] = w.shape
    if (w.shape.length !== 4 || inChannels !== channels)
      refuse(op, `the weight ${formatType(w)} does not take the ${channels} channels of ${formatType(x)}`)
    const h = (height - 1) * stride - padding[0] - padding[2] + kh + outputPadding[0]
    const wd = (width - 1) * stride - padding[1] - padding[3] + kw + outputPadding[1]
    if (h < 1 || wd < 1) refuse(op, `the padding ${formatShape(padding)} leaves nothing of ${formatType(x)}`)
    return { dtype: x.dtype, shape: [b, out, h, wd] }
  },
  attention: (inputs, { heads }, op) => {
    const [q, k, v, mask]: readonly (Value | undefined)[] = inputs
    checkReal(op, inputs)
    checkSizes(op, "heads", [heads], 1)
    for (const x of [q, k, v]) if (x.shape.length !== 3) refuse(op, `${formatType(x)} is not [B, T, C]`)
    const [b, t, c] = q.shape
    const [bk, s, ck] = k.shape
    if (bk !== b || ck !== c || v.shape[0] !== b || v.shape[1] !== s)
      refuse(
        op,
        `queries ${formatType(q)}, keys ${formatType(k)} and values ${formatType(v)} do not fit together`,
      )
    if (c % heads !== 0 || v.shape[2] % heads !== 0)
      refuse(op, `${c} and ${v.shape[2]} channels do not divide into ${heads} heads`)
    if (mask && !broadcastsTo(mask.shape, [b, heads, t, s]))
      refuse(op, `the mask ${formatType(mask)} does not broadcast to ${formatShape([b, heads, t, s])}`)
    return { dtype: q.dtype, shape: [b, t, v.shape[2]] }
  },

  groupNorm: (inputs, { groups }, op) => {
    const [x] = inputs
    if (x.shape.length < 3) refuse(op, `${formatType(x)} is not [B, C, ...]`)
    return inGroups(op, inputs, groups, x.shape[1])
  },
  groupNormRows: (inputs, { groups }, op) => {
    const [x] = inputs
    if (x.shape.length !== 3) refuse(op, `${formatType(x)} is not [B, H W, C]`)
    return inGroups(op, inputs, groups, x.shape[2])
  },
  layerNorm: ([x, scale, bias], _, op) => {
    overLastAxis([x, scale, bias], _, op)
    checkVector(op, scale, x.shape[x.shape.length - 1])
    checkVector(op, bias, x.shape[x.shape.length - 1])
    return { dtype: x.dtype, shape: x.shape }
  },
  rmsNorm: ([x, scale], _, op) => {
    overLastAxis([x, scale], _, op)
    checkVector(op, scale, x.shape[x.shape.length - 1])
    return { dtype: x.dtype, shape: x.shape }
  },
  softmax: overLastAxis,
  logSoftmax: overLastAxis,

  reduceSum: reduce,
  reduceMean: reduce,

  reshape: ([x], { shape }, op) => {
    checkSizes(op, "shape", shape)
    if (sizeOf(shape) !== sizeOf(x.shape)) refuse(op, `${formatType(x)} does not fill ${formatShape(shape)}`)
    return { dtype: x.dtype, shape }
  },
  transpose: ([x], { permutation }, op) => {
    const seen = new Set(permutation)
    if (permutation.length !== x.shape.length || seen.size !== x.shape.length)
      refuse(op, `${formatShape(permutation)} does not permute the axes of ${formatType(x)}`)
    for (const axis of permutation) checkAxis(op, x, axis)
    return { dtype: x.dtype, shape: permutation.map((axis) => x.shape[axis]) }
  },
  concat: (inputs, { axis }, op) => {
    if (inputs.length === 0) refuse(op, "there are no values to join")
    const [first] = inputs
    checkAxis(op, first, axis)
    for (const x of inputs)
      if (
        x.dtype !== first.dtype ||
        x.shape.length !== first.shape.length ||
        x.shape.some((d, i) => i !== axis && d !== first.shape[i])
      )
        refuse(op, `${formatType(first)} and ${formatType(x)} do not join along axis ${axis}`)
    const total = inputs.reduce((sum, x) => sum + x.shape[axis], 0)
    return { dtype: first.dtype, shape: first.shape.map((d, i) => (i === axis ? total : d)) }
  },
  slice: ([x], { axis, start, end, step }, op) => {
    checkAxis(op, x, axis)
    const size = x.shape[axis]
    const inside =
      step > 0 ? start >= 0 && end <= size && start < end : start < size && end >= -1 && start > end
    if (step === 0 || !inside || ![start, end, step].every(Number.isInteger))
      refuse(op, `${start}:${end}:${step} leaves axis ${axis} of ${formatType(x)}`)
    const length = Math.ceil((end - start) / step)
    return { dtype: x.dtype, shape: x.shape.map((d, i) => (i === axis ? length : d)) }
  },
  pad: ([x], { before, after }, op) => {
    if (before.length !== x.shape.length || after.length !== x.shape.length)
      refuse(op, `${formatShape(before)} and ${formatShape(after)} do not pad ${formatType(x)}`)
    checkSizes(op, "before", before)
    checkSizes(op, "after", after)
    return { dtype: x.dtype, shape: x.shape.map((d, i) => d + before[i] + after[i]) }
  },
  expand: ([x], { shape }, op) => {
    if (!broadcastsTo(x.shape, shape))
      refuse(op, `${formatType(x)} does not broadcast to ${formatShape(shape)}`)
    return { dtype: x.dtype, shape }
  },
  upsampleNearest: ([x], { height, width }, op) => {
    checkPicture(op, x)
    checkSizes(op, "size", [height, width])
    if (height < x.shape[2] || width < x.shape[3])
      refuse(op, `${height}x${width} is smaller than ${formatType(x)}`)
    return { dtype: x.dtype, shape: [x.shape[0], x.shape[1], height, width] }
  },
  gatherRows: ([table, ids], _, op) => {
    if (table.shape.length !== 2 || ids.dtype !== "int64")
      refuse(op, `needs a table [rows, D] and int64 ids, not ${formatType(table)} and ${formatType(ids)}`)
    return { dtype: table.dtype, shape: [...ids.shape, table.shape[1]] }
  },
  scatterRows: ([updates, ids], { rows }, op) => {
    const width = updates.shape[updates.shape.length - 1]
    checkReal(op, [updates])
    checkSizes(op, "rows", [rows], 1)
    if (ids.dtype !== "int64" || !sameShape(updates.shape, [...ids.shape, width]))
      refuse(
        op,
        `needs updates [..., D] and int64 ids [...], not ${formatType(updates)} and ${formatType(ids)}`,
      )
    return { dtype: updates.dtype, shape: [rows, width] }
  },
}

function convolved(
  op: Op,
  x: Value,
  w: Value,
  bias: Value | undefined,
  options: Attributes["conv2d"],
): ValueType {
  checkPicture(op, x)
  const [b, channels] = x.shape
  const [out, inChannels, ...kernel] = w.shape
  if (w.shape.length !== 4 || inChannels !== channels)
    refuse(op, `the weight ${formatType(w)} does not take the ${channels} channels of ${formatType(x)}`)
  if (bias && !sameShape(bias.shape, [out]))
    refuse(op, `the bias ${formatType(bias)} is not the weight's ${out} output channels`)
  return { dtype: x.dtype, shape: [b, out, ...convolvedPlaces(op, x, x.shape.slice(2), kernel, options)] }
}

function convolvedPlaces(op: Op, x: Value, read: Shape, kernel: Shape, options: Attributes["conv2d"]): Shape {
  checkSizes(op, "stride", [options.stride], 1)
  checkSizes(op, "padding", options.padding)
  const size = convolvedSize(read, kernel, options)
  if (Math.min(...size) < 1) refuse(op, `${formatType(x)} is smaller than the ${kernel.join("x")} kernel`)
  return size
}

/** How many columns a weight of integers has, if it takes rows of `wide` numbers. */
function integerColumns(op: Op, inputs: readonly Value[], wide: number): number {
  const [x, w, ...vectors] = inputs
  checkFloat32(op, x)
  if (w.dtype !== "int8" || w.shape.length !== 2 || w.shape[0] !== wide)
    refuse(op, `the weight ${formatType(w)} does not take rows of ${wide} of ${formatType(x)}`)
  for (const vector of vectors) {
    checkFloat32(op, vector)
    checkVector(op, vector, w.shape[1])
  }
  return w.shape[1]
}

function inGroups(op: Op, inputs: readonly Value[], groups: number, channels: number): ValueType {
  const [x, scale, bias] = inputs
  checkReal(op, inputs)
  checkSizes(op, "groups", [groups], 1)
  if (channels % groups !== 0) refuse(op, `${channels} channels do not divide into ${groups} groups`)
  checkVector(op, scale, channels)
  checkVector(op, bias, channels)
  return { dtype: x.dtype, shape: x.shape }
}

function lastTwo(shape: Shape, swap: boolean): [number, number] {
  const rows = shape[shape.length - 2]
  const columns = shape[shape.length - 1]
  return swap ? [columns, rows] : [rows, columns]
}

function broadcastsTo(from: Shape, to: Shape): boolean {
  const shape = broadcastShapes(from, to)
  return shape !== undefined && sameShape(shape, to)
}

function checkAxis(op: Op, x: Value, axis: number): void {
  if (!Number.isInteger(axis) || axis < 0 || axis >= x.shape.length)
    refuse(op, `${formatType(x)} has no axis ${axis}`)
}

/** Real numbers, of one element type in all inputs. */
function checkReal(op: Op, inputs: readonly Value[]): void {
  const [first] = inputs
  for (const x of inputs) {
    if (!realTypes.includes(x.dtype)) refuse(op, `${formatType(x)} does not hold real numbers`)
    if (x.dtype !== first.dtype)
      refuse(op, `${formatType(first)} and ${formatType(x)} have different element types`)
  }
}

function checkFloat32(op: Op, x: Value): void {
  if (x.dtype !== "float32") refuse(op, `${formatType(x)} is not float32`)
}

const realTypes: readonly DType[] = ["float64", "float32", "float16", "bfloat16"]

function checkSizes(op: Op, what: string, sizes: readonly number[], least = 0): void {
  if (sizes.some((size) => !Number.isInteger(size) || size < least))
    refuse(op, `${what} ${formatShape(sizes)} must be ${least > 0 ? "positive" : "non-negative"} integers`)
}

function checkPicture(op: Op, x: Value): void {
  if (x.shape.length !== 4) refuse(op, `${formatType(x)} is not [B, C, H, W]`)
}

function checkVector(op: Op, x: Value, length: number): void {
  if (!sameShape(x.shape, [length])) refuse(op, `${formatType(x)} is not a vector of ${length}`)
}
