import type { Pixels } from "./image.ts"
import { pixels, transposed } from "./image.ts"

/** Pixels on each side of a picture. */
export interface Sides {
  readonly left: number
  readonly top: number
  readonly right: number
  readonly bottom: number
}

/**
 * A picture with pixels around it: its edges drawn out, the more blurred the farther. A pixel `d` away from an edge is the
 * mean of the 2d + 1 pixels of that edge beside the one next to it, as far as there are so many.
 */
export function extendImage(image: Pixels, { left, top, right, bottom }: Sides): Pixels {
  return transposed(drawnOut(transposed(drawnOut(image, left, right)), top, bottom))
}

/** A picture with its first and its last column drawn out. */
function drawnOut(image: Pixels, before: number, after: number): Pixels {
  const { width, height, channels, data } = image
  const wide = before + width + after
  const out = new Uint8Array(wide * height * channels)
  const first = edgeMeans(image, 0)
  const last = edgeMeans(image, width - 1)
  for (let y = 0; y < height; y++) {
    const row = y * wide
    out.set(data.subarray(y * width * channels, (y + 1) * width * channels), (row + before) * channels)
    for (let c = 0; c < channels; c++) {
      for (let d = 1; d <= before; d++) out[(row + before - d) * channels + c] = first(y, d, c)
      for (let d = 1; d <= after; d++) out[(row + before + width - 1 + d) * channels + c] = last(y, d, c)
    }
  }
  return pixels(wide, height, channels, out)
}

/** Means of a column's pixels as far as `reach` above and below one of them, in each channel. */
function edgeMeans({ width, height, channels, data }: Pixels, x: number) {
  const sums = new Float64Array((height + 1) * channels)
  for (let y = 0; y < height; y++)
    for (let c = 0; c < channels; c++)
      sums[(y + 1) * channels + c] = sums[y * channels + c] + data[(y * width + x) * channels + c]
  return (y: number, reach: number, c: number) => {
    const [start, end] = [Math.max(0, y - reach), Math.min(height, y + reach + 1)]
    return Math.round((sums[end * channels + c] - sums[start * channels + c]) / (end - start))
  }
}
