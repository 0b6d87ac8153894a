import { UsageError } from "./errors.ts"
import type { Pixels } from "./image.ts"
import { pixels, transposed } from "./image.ts"

/** A filter's weight at a distance in pixels, and beyond which distance it is zero. */
interface Filter {
  readonly support: number
  weight(distance: number): number
}

const sinc = (x: number) => (x === 0 ? 1 : Math.sin(Math.PI * x) / (Math.PI * x))

/** Lanczos' windowed sinc of three lobes (Turkowski 1990). */
const lanczos: Filter = {
  support: 3,
  weight: (x) => (x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0),
}

/** The cubic spline of Keys (1981) with a = -1/2. */
const bicubic: Filter = {
  support: 2,
  weight(distance) {
    const x = Math.abs(distance)
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0
  },
}

const filters = { lanczos, bicubic }

/** What the pixels of a picture of another size are made by. */
export type ResizeFilter = keyof typeof filters

/** Weights are whole multiples of 2^-22, as in Pillow's arithmetic of 8-bit pixels. */
const fractionBits = 22

/** The source pixels under one pixel of the result, and how much each weighs, in units of 2^-22. */
interface Taps {
  readonly first: number
  readonly weights: readonly number[]
}

/**
 * A picture of another size: bit for bit what Pillow's `Image.resize((width, height), LANCZOS)` gives for 3 channels,
 * which is how diffusers fits pictures to a model, or `BICUBIC`, which is how CLIP sees them. (Pillow 13 sometimes takes heights before
 * widths, to be faster; both are rounded in between, so that some values then differ by a few units.)
 * Throws a UsageError for sizes below 1.
 */
export function resizeImage(
  image: Pixels,
  width: number,
  height: number,
  filter: ResizeFilter = "lanczos",
): Pixels {
  for (const side of [width, height])
    if (!Number.isInteger(side) || side < 1)
      throw new UsageError(`A picture of ${width}x${height} pixels cannot be; give whole numbers from 1 on.`)
  const across = image.width === width ? image : resizeAcross(image, width, filters[filter])
  if (across.height === height) return across
  return transposed(resizeAcross(transposed(across), height, filters[filter]))
}

function resizeAcross({ width: from, height, channels, data }: Pixels, to: number, filter: Filter): Pixels {
  const taps = tapsOf(from, to, filter)
  const out = new Uint8Array(to * height * channels)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < to; x++) {
      const { first, weights } = taps[x]
      for (let c = 0; c < channels; c++) {
        let sum = 2 ** (fractionBits - 1)
        for (let k = 0; k < weights.length; k++)
          sum += weights[k] * data[(y * from + first + k) * channels + c]
        out[(y * to + x) * channels + c] = Math.min(255, Math.max(0, Math.floor(sum / 2 ** fractionBits)))
      }
    }
  return pixels(to, height, channels, out)
}

/** The filter is as wide as the coarser of the two pictures' pixels. */
function tapsOf(from: number, to: number, { support, weight }: Filter): Taps[] {
  const scale = from / to
  const stretch = Math.max(scale, 1)
  return Array.from({ length: to }, (_, x) => {
    const centre = (x + 0.5) * scale
    const first = Math.max(0, Math.trunc(centre - support * stretch + 0.5))
    const end = Math.min(from, Math.trunc(centre + support * stretch + 0.5))
    // Times the inverse, as Pillow does: a quotient would round otherwise.
    const raw = Array.from({ length: end - first }, (_, k) =>
      weight((k + first - centre + 0.5) * (1 / stretch)),
    )
    const inverse = 1 / raw.reduce((a, b) => a + b, 0)
    return { first, weights: raw.map((w) => roundAway(w * inverse * 2 ** fractionBits)) }
  })
}

/** To the nearest whole number, halves away from zero. */
function roundAway(x: number): number {
  return Math.sign(x) * Math.floor(Math.abs(x) + 0.5)
}
