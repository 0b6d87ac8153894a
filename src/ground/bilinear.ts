import type { Pixels } from "./image.ts"
import { pixels } from "./image.ts"
import { roundHalfEven } from "./rounding.ts"
import type { Affine } from "./similarity.ts"

/** Weights are whole multiples of 2^-11, as in OpenCV's arithmetic of 8-bit pixels. */
const FRACTION = 2 ** 11

/**
 * A picture of another size: bit for bit what OpenCV's `resize` makes by default, between the two nearest pixels of each
 * direction, without smoothing; of exactly half the size in both directions, the means of four pixels.
 */
export function resizeBilinear(image: Pixels, width: number, height: number): Pixels {
  if (image.width === 2 * width && image.height === 2 * height) return halved(image)
  const { channels, data } = image
  const row = image.width * channels
  const across = taps(image.width, width).map((one) => inside(one, image.width))
  const down = taps(image.height, height)
  const out = new Uint8Array(width * height * channels)
  for (let y = 0; y < height; y++) {
    const { at, weights } = down[y]
    const lines = [clamped(at, image.height) * row, clamped(at + 1, image.height) * row]
    for (let x = 0; x < width; x++) {
      const { at: left, weights: shares } = across[x]
      for (let c = 0; c < channels; c++) {
        const first = left * channels + c
        const sum = (line: number) =>
          shares[0] * data[line + first] + (shares[1] === 0 ? 0 : shares[1] * data[line + first + channels])
        // Cut off twice on the way, so that 32 bits are enough.
        const part = (k: 0 | 1) => (weights[k] * (sum(lines[k]) >> 4)) >> 16
        out[(y * width + x) * channels + c] = (part(0) + part(1) + 2) >> 2
      }
    }
  }
  return pixels(width, height, channels, out)
}

/** The two pixels that a new one lies between, of which this is the first and may be outside. */
interface Taps {
  readonly at: number
  readonly weights: readonly [number, number]
}

function taps(from: number, to: number): Taps[] {
  return Array.from({ length: to }, (_, i) => {
    const place = Math.fround((i + 0.5) * (from / to) - 0.5)
    const at = Math.floor(place)
    const share = Math.fround(place - at)
    return {
      at,
      weights: [roundHalfEven(Math.fround(1 - share) * FRACTION), roundHalfEven(share * FRACTION)],
    }
  })
}

/** Beyond its ends a row goes on as it ends, which is all of one pixel. */
function inside({ at, weights }: Taps, length: number): Taps {
  if (at >= 0 && at < length - 1) return { at, weights }
  return { at: clamped(at, length), weights: [FRACTION, 0] }
}

function clamped(at: number, length: number): number {
  return Math.min(length - 1, Math.max(0, at))
}

function halved({ width, height, channels, data }: Pixels): Pixels {
  const out = new Uint8Array(data.length / 4)
  const row = width * channels
  for (let y = 0, i = 0; y < height; y += 2)
    for (let x = 0; x < width; x += 2)
      for (let c = 0; c < channels; c++, i++) {
        const at = y * row + x * channels + c
        out[i] = (data[at] + data[at + channels] + data[at + row] + data[at + row + channels] + 2) >> 2
      }
  return pixels(width / 2, height / 2, channels, out)
}

/**
 * A picture moved, turned and scaled into a frame, `matrix` saying where its pixels come to lie; black where there is
 * nothing of it. What OpenCV 5's `warpAffine` makes by default, but for a unit in some ten thousand values; before, it
 * took places by 32nds of a pixel, which changes an eighth of the values, by a few units.
 */
export function warpAffine(image: Pixels, matrix: Affine, width: number, height: number): Pixels {
  const { channels, data } = image
  const [a, b, c, d, e, f] = inverse(matrix)
  const [stepX, stepY] = [Math.fround(a), Math.fround(d)]
  const out = new Uint8Array(width * height * channels)
  const value = (x: number, y: number, channel: number) =>
    x < 0 || y < 0 || x >= image.width || y >= image.height
      ? 0
      : data[(y * image.width + x) * channels + channel]
  // Each product is added before it is rounded to float32, as processors do that at once.
  const mix = (first: number, second: number, share: number) =>
    Math.fround(first + share * Math.fround(second - first))
  for (let y = 0; y < height; y++) {
    const [startX, startY] = [Math.fround(y * b + c), Math.fround(y * e + f)]
    for (let x = 0; x < width; x++) {
      const placeX = Math.fround(x * stepX + startX)
      const placeY = Math.fround(x * stepY + startY)
      const left = Math.floor(placeX)
      const top = Math.floor(placeY)
      for (let channel = 0; channel < channels; channel++) {
        const line = (row: number) =>
          mix(value(left, row, channel), value(left + 1, row, channel), placeX - left)
        const sum = mix(line(top), line(top + 1), placeY - top)
        out[(y * width + x) * channels + channel] = roundHalfEven(sum)
      }
    }
  }
  return pixels(width, height, channels, out)
}

function inverse([a, b, c, d, e, f]: Affine): Affine {
  const share = 1 / (a * e - b * d)
  const [p, q, r, s] = [e * share, -b * share, -d * share, a * share]
  return [p, q, -p * c - q * f, r, s, -r * c - s * f]
}
