import type { DType, DTypeArrays } from "./dtype.ts"
import {
  arrayOf,
  bfloat16BitsToFloat32,
  bytesPerElement,
  float16BitsToFloat32,
  float32ToBfloat16Bits,
  float32ToFloat16Bits,
} from "./dtype.ts"
import { LimnError } from "./errors.ts"
import type { Shape } from "./shape.ts"
import { formatShape, sizeOf } from "./shape.ts"

/** Numbers in row-major order. Plain data: it crosses threads and is never changed in place by the library. */
export interface Tensor<D extends DType = DType> {
  readonly dtype: D
  readonly shape: Shape
  readonly data: DTypeArrays[D]
}

/** A tensor over existing data. Throws where the data's length is not the shape's size. */
export function tensor<D extends DType>(dtype: D, shape: Shape, data: DTypeArrays[D]): Tensor<D> {
  if (data.length !== sizeOf(shape))
    throw new LimnError(
      `A tensor of shape ${formatShape(shape)} needs ${sizeOf(shape)} elements, not ${data.length}.`,
    )
  return { dtype, shape, data }
}

/** A tensor over its bytes as files hold them: little-endian, of exactly the shape's size. */
export function tensorFromBytes<D extends DType>(dtype: D, shape: Shape, bytes: Uint8Array): Tensor<D> {
  // Typed arrays begin at multiples of their element, which bytes within a file need not do.
  const { buffer, byteOffset, byteLength } =
    bytes.byteOffset % bytesPerElement(dtype) === 0 ? bytes : new Uint8Array(bytes)
  return tensor(dtype, shape, new arrayOf[dtype](buffer, byteOffset, byteLength / bytesPerElement(dtype)))
}

/** The bytes of an array, without a copy. */
export function rawBytes({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength)
}

/** A float32 tensor from any numbers. */
export function float32(shape: Shape, values: ArrayLike<number>): Tensor<"float32"> {
  return tensor("float32", shape, values instanceof Float32Array ? values : Float32Array.from(values))
}

/** An int64 tensor from any integers. */
export function int64(shape: Shape, values: ArrayLike<number>): Tensor<"int64"> {
  return tensor("int64", shape, BigInt64Array.from(Array.from(values, (v) => BigInt(v))))
}

/** How many bytes the numbers of a tensor of this type take. */
export function byteLength({ dtype, shape }: Pick<Tensor, "dtype" | "shape">): number {
  return sizeOf(shape) * bytesPerElement(dtype)
}

/** A tensor of zeros. */
export function zeros<D extends DType>(dtype: D, shape: Shape): Tensor<D> {
  return { dtype, shape, data: new arrayOf[dtype](sizeOf(shape)) }
}

/** The side of what is transposed at once. */
const SQUARE = 64

/** A matrix with its rows as columns. */
export function transposed<D extends DType>({ dtype, shape, data }: Tensor<D>): Tensor<D> {
  const [rows, columns] = shape
  const out = zeros(dtype, [columns, rows])
  const { data: moved } = out
  // Square by square, since a step along one of the two leaves the processor's cache behind.
  for (let top = 0; top < rows; top += SQUARE)
    for (let left = 0; left < columns; left += SQUARE) {
      const [bottom, right] = [Math.min(rows, top + SQUARE), Math.min(columns, left + SQUARE)]
      for (let column = left; column < right; column++)
        for (let row = top; row < bottom; row++) moved[column * rows + row] = data[row * columns + column]
    }
  return out
}

const readers: { readonly [D in DType]: (data: DTypeArrays[D], i: number) => number } = {
  float64: (d, i) => d[i],
  float32: (d, i) => d[i],
  float16: (d, i) => float16BitsToFloat32(d[i]),
  bfloat16: (d, i) => bfloat16BitsToFloat32(d[i]),
  int64: (d, i) => Number(d[i]),
  int32: (d, i) => d[i],
  int8: (d, i) => d[i],
  uint8: (d, i) => d[i],
  bool: (d, i) => d[i],
}

/** What each of the bit patterns of a half type is worth; made where many numbers are read. */
const halfValues = new Map<DType, Float32Array>()

/** The same values as float32 (the same array where they already are). */
export function toFloat32<D extends DType>(t: Tensor<D>): Tensor<"float32"> {
  if (t.data instanceof Float32Array) return { dtype: "float32", shape: t.shape, data: t.data }
  const out = new Float32Array(t.data.length)
  const read = readers[t.dtype]
  if (t.data instanceof Uint16Array && out.length > 2 ** 16) {
    const every = Uint16Array.from({ length: 2 ** 16 }, (_, bits) => bits) as DTypeArrays[D]
    const values = halfValues.get(t.dtype) ?? Float32Array.from({ length: 2 ** 16 }, (_, i) => read(every, i))
    halfValues.set(t.dtype, values)
    for (let i = 0; i < out.length; i++) out[i] = values[t.data[i]]
  } else for (let i = 0; i < out.length; i++) out[i] = read(t.data, i)
  return { dtype: "float32", shape: t.shape, data: out }
}

/** float32 values rounded to a half type, nearest even. */
export function toHalf<D extends "float16" | "bfloat16">(t: Tensor<"float32">, dtype: D): Tensor<D> {
  const round = dtype === "float16" ? float32ToFloat16Bits : float32ToBfloat16Bits
  const out = new Uint16Array(t.data.length)
  for (let i = 0; i < out.length; i++) out[i] = round(t.data[i])
  return { dtype, shape: t.shape, data: out as DTypeArrays[D] }
}
