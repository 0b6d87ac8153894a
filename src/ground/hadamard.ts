/**
 * Turning of rows, in blocks of a power of two, by Sylvester's Hadamard matrix over its norm: products of two turned rows are
 * those of the rows, and a number that stands out is spread over its block. Turning twice gives the rows back.
 */

/** The matrix, [size, size]. */
export function hadamard(size: number): Float32Array {
  const rows = new Float32Array(size * size)
  for (let i = 0; i < size; i++) rows[i * size + i] = 1
  turnBlocks(rows, size)
  return rows
}

/** Turns each block of `size` numbers in place (the fast Walsh-Hadamard transform, two of its stages at a time). */
export function turnBlocks(values: Float32Array, size: number): void {
  const norm = Math.fround(1 / Math.sqrt(size))
  for (let block = 0; block < values.length; block += size) {
    const end = block + size
    let half = 1
    for (; 2 * half < size; half *= 4)
      for (let first = block; first < block + half; first++)
        for (let i = first; i < end; i += 4 * half) {
          const a = values[i]
          const b = values[i + half]
          const c = values[i + 2 * half]
          const d = values[i + 3 * half]
          values[i] = a + b + (c + d)
          values[i + half] = a - b + (c - d)
          values[i + 2 * half] = a + b - (c + d)
          values[i + 3 * half] = a - b - (c - d)
        }
    if (half < size)
      for (let i = block; i < block + half; i++) {
        const sum = values[i] + values[i + half]
        values[i + half] = values[i] - values[i + half]
        values[i] = sum
      }
    for (let i = block; i < end; i++) values[i] *= norm
  }
}
