import type { Tensor } from "../ground/tensor.ts"
import { zeros } from "../ground/tensor.ts"

type Picture = Tensor<"float32">

/** The share of a tile that lies under the next one. */
const OVERLAP = 0.25

/**
 * What a network makes of a picture that is too large for it at once, from square tiles that overlap by a quarter and
 * fade into each other, as diffusers' `AutoencoderKL` does after `enable_tiling`.
 *   x [B, C, H, W]   ->   [B, C2, s H, s W], s being the scale at which `run` gives a tile
 * `side` is that of a tile of x, a multiple of 4, and of 4 / s; an x that fits in one tile is run as it is.
 */
export async function inTiles(
  x: Picture,
  side: number,
  run: (tile: Picture) => Promise<Picture>,
): Promise<Picture> {
  const [batch, , height, width] = x.shape
  if (height <= side && width <= side) return run(x)
  const stride = side * (1 - OVERLAP)
  let whole: Picture | undefined
  let above: Picture[] = []
  for (let top = 0; top < height; top += stride) {
    const row: Picture[] = []
    for (let left = 0; left < width; left += stride) {
      const part = cut(x, top, left, side)
      const tile = await run(part)
      const scale = tile.shape[2] / part.shape[2]
      // Neighbours are blended already, so that corners fade in both directions. Networks' results are nobody else's.
      if (top > 0) fade(above[row.length], tile, 2, side * OVERLAP * scale)
      if (left > 0) fade(row[row.length - 1], tile, 3, side * OVERLAP * scale)
      whole ??= zeros("float32", [batch, tile.shape[1], height * scale, width * scale])
      paste(tile, whole, top * scale, left * scale)
      row.push(tile)
    }
    above = row
  }
  return whole!
}

/** The part of a picture from a corner on, `side` x `side` or as far as it goes. */
function cut({ shape: [b, c, height, width], data }: Picture, top: number, left: number, side: number) {
  const h = Math.min(side, height - top)
  const w = Math.min(side, width - left)
  const part = zeros("float32", [b, c, h, w])
  for (let row = 0; row < b * c * h; row++) {
    const from = (Math.floor(row / h) * height + top + (row % h)) * width + left
    part.data.set(data.subarray(from, from + w), row * w)
  }
  return part
}

/** Puts a tile over a picture; what hangs out at its far end is left away. */
function paste({ shape: [b, c, h, w], data }: Picture, whole: Picture, top: number, left: number): void {
  const [, , height, width] = whole.shape
  const [rows, columns] = [Math.min(h, height - top), Math.min(w, width - left)]
  for (let plane = 0; plane < b * c; plane++)
    for (let y = 0; y < rows; y++) {
      const from = (plane * h + y) * w
      whole.data.set(data.subarray(from, from + columns), (plane * height + top + y) * width + left)
    }
}

/** Lets a tile begin, along one axis, as the one before it ends: from all of that to all of its own over `extent`. */
function fade(before: Picture, tile: Picture, axis: 2 | 3, extent: number): void {
  const inner = axis === 2 ? tile.shape[3] : 1
  const [length, lengthBefore] = [tile.shape[axis], before.shape[axis]]
  const over = Math.min(extent, length, lengthBefore)
  for (let outer = 0; outer < tile.data.length / (length * inner); outer++)
    for (let k = 0; k < over; k++) {
      const from = (outer * lengthBefore + lengthBefore - over + k) * inner
      const to = (outer * length + k) * inner
      for (let i = 0; i < inner; i++)
        tile.data[to + i] = before.data[from + i] * (1 - k / over) + tile.data[to + i] * (k / over)
    }
}
