/** Each block as multiples of a 127th of its largest number. */
export function roundedInBlocks(x: Float64Array, blockSize: number): Float64Array {
  const rounded = x.slice()
  for (let start = 0; start < x.length; start += blockSize) {
    const block = rounded.subarray(start, start + blockSize)
    const step = block.reduce((most, v) => Math.max(most, Math.abs(v)), 0) / 127
    if (step > 0) block.set(block.map((v) => Math.round(v / step) * step))
  }
  return rounded
}

/** Numbers as multiples of a 255th of their range, 0 among them. */
export function roundedInRange(x: Float64Array): Float64Array {
  const low = Math.min(0, ...x)
  const scale = (Math.max(0, ...x) - low) / 255
  const zero = Math.round(-low / scale)
  return x.map((v) => scale * (Math.max(0, Math.min(255, Math.round(v / scale) + zero)) - zero))
}
