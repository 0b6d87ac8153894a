/** How numbers are stored as integers with one scale for each block of them. */
export interface BlockFormat {
  readonly bits: 4 | 8
  /** Numbers that share a scale: a power of two from 16 on. */
  readonly blockSize: number
}

/** Numbers as unsigned integers around 2^(bits - 1), and the scale of each block. */
export interface BlockIntegers {
  /** One integer a byte, or two: the first in the low half. */
  readonly integers: Uint8Array
  readonly scales: Float32Array
}

/**
 * Rounds numbers to integers in blocks. A block's number of the largest magnitude becomes the lowest integer, whatever its
 * sign, since there is one more below the middle than above it; so no number is off by more than a scale, nearly all by no
 * more than half of one. `values` are whole blocks.
 */
export function toBlockIntegers(values: Float32Array, { bits, blockSize }: BlockFormat): BlockIntegers {
  const middle = 2 ** (bits - 1)
  const top = 2 * middle - 1
  const integers = new Uint8Array((values.length * bits) / 8)
  const scales = new Float32Array(values.length / blockSize)
  for (let block = 0; block < scales.length; block++) {
    const start = block * blockSize
    const end = start + blockSize
    const scale = extremeOf(values, start, end) / -middle
    scales[block] = scale
    const inverse = scale === 0 ? 0 : 1 / scale
    for (let i = start; i < end; i++) {
      // Nothing is below 0 here, so that cutting off is rounding to the nearest.
      const nearest = (values[i] * inverse + middle + 0.5) | 0
      const integer = nearest > top ? top : nearest
      if (bits === 8) integers[i] = integer
      else integers[i >> 1] |= (i & 1) === 0 ? integer : integer << 4
    }
  }
  return { integers, scales }
}

/** The number of the largest magnitude. */
function extremeOf(values: Float32Array, start: number, end: number): number {
  let low = 0
  let high = 0
  for (let i = start; i < end; i++) {
    const value = values[i]
    if (value > high) high = value
    else if (value < low) low = value
  }
  return high > -low ? high : low
}
