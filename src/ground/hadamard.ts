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

/** Turns each block of `size` numbers in place (the fast Walsh-Hadamard transform). */
export function turnBlocks(values: Float32Array, size: number): void {
  const norm = Math.fround(1 / Math.sqrt(size))
  for (let half = 1; half < size; half *= 2) {
    const factor = 2 * half === size ? norm : 1
    for (let start = 0; start < values.length; start += 2 * half)
      for (let i = start; i < start + half; i++) {
        const [a, b] = [values[i], values[i + half]]
        values[i] = factor * (a + b)
        values[i + half] = factor * (a - b)
      }
  }
}
