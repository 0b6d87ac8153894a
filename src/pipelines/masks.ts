import type { Pixels } from "../ground/image.ts"
import { resizeImage } from "../ground/resize.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import { opaque } from "./image.ts"

/** How white a mask is [1, 1, height, width], 0 to 1; only 0 and 1 unless soft. */
export function maskTensor(mask: Pixels, width: number, height: number, soft: boolean): Tensor<"float32"> {
  const { data } = resizeImage(opaque(mask), width, height)
  const values = Float32Array.from({ length: width * height }, (_, i) => {
    // The luma of ITU-R 601 in 16 bits, as Pillow computes it.
    const luma = (19595 * data[3 * i] + 38470 * data[3 * i + 1] + 7471 * data[3 * i + 2] + 32768) >> 16
    const share = Math.fround(luma / 255)
    return soft ? share : Number(share >= 0.5)
  })
  return float32([1, 1, height, width], values)
}

/**
 * A mask [1, 1, H, W] for the places of a smaller picture that is only known to have `queries` of them: [1, queries]. Its
 * sides are guessed from those of the mask; places too few are zeros, too many are left out (diffusers
 * `IPAdapterMaskProcessor.downsample`).
 */
export function maskForQueries({ shape, data }: Tensor<"float32">, queries: number): Tensor<"float32"> {
  const [, , height, width] = shape
  const guess = Math.trunc(Math.sqrt(queries / (width / height)))
  const h = guess + Number(queries % guess !== 0)
  const w = Math.floor(queries / h)
  const across = taps(width, w)
  const down = taps(height, h)
  const values = new Float32Array(queries)
  for (let i = 0; i < Math.min(h * w, queries); i++) {
    const [rows, columns] = [down[Math.floor(i / w)], across[i % w]]
    for (const row of rows)
      for (const column of columns) values[i] += row.weight * column.weight * data[row.at * width + column.at]
  }
  return float32([1, queries], values)
}

/**
 * The four places of a line of `from` that make each place of a line of `to`, and their weights: torch's cubic
 * `interpolate`, a = -0.75, without smoothing; places beyond the ends are the ends.
 */
function taps(from: number, to: number): { readonly at: number; readonly weight: number }[][] {
  return Array.from({ length: to }, (_, i) => {
    const centre = ((i + 0.5) * from) / to - 0.5
    const first = Math.floor(centre)
    return [-1, 0, 1, 2].map((k) => ({
      at: Math.min(from - 1, Math.max(0, first + k)),
      weight: cubic(Math.abs(centre - first - k)),
    }))
  })
}

/** Keys' cubic (1981) with a = -0.75. */
function cubic(x: number): number {
  return x <= 1 ? (1.25 * x - 2.25) * x * x + 1 : ((-0.75 * x + 3.75) * x - 6) * x + 3
}
