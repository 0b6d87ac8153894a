/** Numbers as integers from -127 to 127, and the scale of each channel. */
export interface ChannelIntegers {
  readonly integers: Int8Array
  readonly scales: Float32Array
}

const HIGHEST = 127

/** Takes from numbers what their integers stand for, in place, and leaves what rounding lost. */
export function subtractIntegers(values: Float32Array, { integers, scales }: ChannelIntegers): void {
  const size = values.length / scales.length
  for (const [channel, scale] of scales.entries())
    for (let i = channel * size; i < (channel + 1) * size; i++) values[i] -= scale * integers[i]
}

/**
 * Rounds numbers to integers of eight bits around 0 with one scale for each of `channels` equal parts; no number is off by
 * more than half a scale. A channel of zeros has the scale 1.
 */
export function toChannelIntegers(values: Float32Array, channels: number): ChannelIntegers {
  const integers = new Int8Array(values.length)
  const scales = new Float32Array(channels)
  const size = values.length / channels
  for (let channel = 0; channel < channels; channel++) {
    const start = channel * size
    const end = start + size
    let highest = 0
    for (let i = start; i < end; i++) {
      const magnitude = Math.abs(values[i])
      if (magnitude > highest) highest = magnitude
    }
    const scale = Math.fround(highest / HIGHEST) || 1
    scales[channel] = scale
    // Nothing is below 0 there, so that cutting off is rounding to the nearest.
    for (let i = start; i < end; i++) integers[i] = ((values[i] / scale + 128.5) | 0) - 128
  }
  return { integers, scales }
}
