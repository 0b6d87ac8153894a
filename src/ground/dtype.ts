/** Element types that checkpoints and graphs hold, by their ONNX and PyTorch names. */
export type DType =
  | "float64"
  | "float32"
  | "float16"
  | "bfloat16"
  | "int64"
  | "int32"
  | "int8"
  | "uint8"
  | "bool"

/** The typed array that holds each element type; the two half types are kept as their 16 bits. */
export interface DTypeArrays {
  float64: Float64Array
  float32: Float32Array
  float16: Uint16Array
  bfloat16: Uint16Array
  int64: BigInt64Array
  int32: Int32Array
  int8: Int8Array
  uint8: Uint8Array
  bool: Uint8Array
}

interface ArrayMaker<A> {
  new (length: number): A
  new (buffer: ArrayBufferLike, byteOffset: number, length: number): A
  readonly BYTES_PER_ELEMENT: number
}

/** Constructor of the typed array for each element type. */
export const arrayOf: { readonly [D in DType]: ArrayMaker<DTypeArrays[D]> } = {
  float64: Float64Array,
  float32: Float32Array,
  float16: Uint16Array,
  bfloat16: Uint16Array,
  int64: BigInt64Array,
  int32: Int32Array,
  int8: Int8Array,
  uint8: Uint8Array,
  bool: Uint8Array,
}

/** Bytes that one element takes in memory and in files. */
export function bytesPerElement(dtype: DType): number {
  return arrayOf[dtype].BYTES_PER_ELEMENT
}

const floatView = new Float32Array(1)
const bitsView = new Uint32Array(floatView.buffer)

/** float32 -> IEEE half bits, rounded to nearest even; overflow gives infinity, NaN stays NaN. */
export function float32ToFloat16Bits(value: number): number {
  floatView[0] = value
  const bits = bitsView[0]
  const sign = (bits >>> 16) & 0x8000
  const exponent = (bits >>> 23) & 0xff
  const mantissa = bits & 0x7fffff
  if (exponent === 0xff) return sign | 0x7c00 | (mantissa ? 0x200 : 0)
  const e = exponent - 112
  if (e >= 31) return sign | 0x7c00
  if (e <= 0) {
    if (e < -10) return sign
    const full = mantissa | 0x800000
    const shift = 14 - e
    return sign | roundShift(full, shift)
  }
  // A carry out of the mantissa runs into the exponent, as it should.
  return sign | ((e << 10) + roundShift(mantissa, 13))
}

function roundShift(value: number, shift: number): number {
  const down = value >>> shift
  const rest = value & ((1 << shift) - 1)
  const half = 1 << (shift - 1)
  return rest > half || (rest === half && down & 1) ? down + 1 : down
}

/** IEEE half bits -> float32. */
export function float16BitsToFloat32(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1
  const exponent = (bits >>> 10) & 0x1f
  const mantissa = bits & 0x3ff
  if (exponent === 0) return sign * mantissa * 2 ** -24
  if (exponent === 31) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15)
}

/** float32 -> bfloat16 bits, rounded to nearest even; NaN stays NaN. */
export function float32ToBfloat16Bits(value: number): number {
  floatView[0] = value
  const bits = bitsView[0]
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff
}

/** bfloat16 bits -> float32. */
export function bfloat16BitsToFloat32(bits: number): number {
  bitsView[0] = bits << 16
  return floatView[0]
}
