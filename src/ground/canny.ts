import { UsageError } from "./errors.ts"
import type { Pixels } from "./image.ts"
import { pixels } from "./image.ts"

/** Which edges count. */
export interface CannyOptions {
  /** A weaker edge than this is none, and one above it counts where it leads to a strong one; default 100. */
  readonly low?: number
  /** An edge above this is strong; default 200. Strengths go from 0 to 2040. */
  readonly high?: number
  /**
   * Whether to look for edges of the grey picture. By default each pixel has the strongest edge of its three colours,
   * as in the pictures that the published ControlNets for edges were trained on.
   */
  readonly gray?: boolean
}

/**
 * The edges of a picture, white on black (Canny 1986): bit for bit what OpenCV's `Canny(picture, low, high)` makes of
 * red, green and blue, or with `gray` of `cvtColor(picture, COLOR_RGB2GRAY)`. Transparency is passed over.
 * Throws a UsageError where a threshold is no number.
 */
export function cannyEdges(
  picture: Pixels,
  { low = 100, high = 200, gray = false }: CannyOptions = {},
): Pixels {
  if (!Number.isFinite(low) || !Number.isFinite(high))
    throw new UsageError(`Edges between ${low} and ${high} cannot be; give two numbers, such as 100 and 200.`)
  const { width, height } = picture
  const planes = gray ? [grayPlane(picture)] : [0, 1, 2].map((c) => colourPlane(picture, c))
  const slopes = steepest(planes.map((plane) => slopesOf(plane, width, height)))
  const strong = Math.floor(Math.max(low, high))
  const edges = followed(
    ridges(slopes, width, height, Math.floor(Math.min(low, high))),
    slopes,
    width,
    strong,
  )
  return pixels(
    width,
    height,
    3,
    new Uint8Array(3 * width * height).map((_, i) => edges[Math.floor(i / 3)]),
  )
}

/** How brightness changes at each pixel, to the right and downwards, and the sum of both without their signs. */
interface Slopes {
  readonly x: Int16Array
  readonly y: Int16Array
  readonly strength: Int16Array
}

function colourPlane({ width, height, channels, data }: Pixels, channel: number): Uint8Array {
  return new Uint8Array(width * height).map((_, i) => data[channels * i + channel])
}

/** The luma of ITU-R 601 in 15 bits, as OpenCV computes it. */
function grayPlane({ width, height, channels, data }: Pixels): Uint8Array {
  return new Uint8Array(width * height).map((_, i) => {
    const at = channels * i
    return (9798 * data[at] + 19235 * data[at + 1] + 3735 * data[at + 2] + 16384) >> 15
  })
}

/** Sobel's 3 x 3 derivatives; beyond its sides a picture goes on as it ends. */
function slopesOf(plane: Uint8Array, width: number, height: number): Slopes {
  const size = width * height
  const slopes = { x: new Int16Array(size), y: new Int16Array(size), strength: new Int16Array(size) }
  for (let row = 0; row < height; row++) {
    const above = Math.max(0, row - 1) * width
    const at = row * width
    const below = Math.min(height - 1, row + 1) * width
    for (let column = 0; column < width; column++) {
      const left = Math.max(0, column - 1)
      const right = Math.min(width - 1, column + 1)
      const across = (start: number) => plane[start + right] - plane[start + left]
      const smooth = (start: number) => plane[start + left] + 2 * plane[start + column] + plane[start + right]
      const x = across(above) + 2 * across(at) + across(below)
      const y = smooth(below) - smooth(above)
      slopes.x[at + column] = x
      slopes.y[at + column] = y
      slopes.strength[at + column] = Math.abs(x) + Math.abs(y)
    }
  }
  return slopes
}

/** At each pixel the strongest slope of several; of equal ones the first. */
function steepest([first, ...others]: readonly Slopes[]): Slopes {
  for (const { x, y, strength } of others)
    for (let i = 0; i < strength.length; i++)
      if (strength[i] > first.strength[i]) {
        first.x[i] = x[i]
        first.y[i] = y[i]
        first.strength[i] = strength[i]
      }
  return first
}

/** tan(22.5 degrees) in 15 bits. */
const TANGENT = 13573

/** 1 where a slope above `low` is stronger than its neighbours along its own direction, of four, else 0. */
function ridges({ x, y, strength }: Slopes, width: number, height: number, low: number): Uint8Array {
  const strengthAt = (row: number, column: number) =>
    row < 0 || row >= height || column < 0 || column >= width ? 0 : strength[row * width + column]
  const out = new Uint8Array(width * height)
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++) {
      const i = row * width + column
      const here = strength[i]
      if (here <= low) continue
      const run = Math.abs(x[i])
      const rise = Math.abs(y[i]) * 2 ** 15
      const flat = run * TANGENT
      const beside = (down: number, right: number) => strengthAt(row + down, column + right)
      // Of two equal neighbours across, the first keeps the edge; on the diagonals neither does.
      if (rise < flat) out[i] = Number(here > beside(0, -1) && here >= beside(0, 1))
      else if (rise > flat + run * 2 ** 16) out[i] = Number(here > beside(-1, 0) && here >= beside(1, 0))
      else {
        const side = x[i] < 0 !== y[i] < 0 ? -1 : 1
        out[i] = Number(here > beside(-1, -side) && here > beside(1, side))
      }
    }
  return out
}

/** 255 on the ridges above `high`, and on all others that lead to them by any of eight neighbours; else 0. */
function followed(ridge: Uint8Array, { strength }: Slopes, width: number, high: number): Uint8Array {
  const height = ridge.length / width
  const edges = new Uint8Array(ridge.length)
  const open: number[] = []
  const take = (i: number) => {
    edges[i] = 255
    open.push(i)
  }
  for (let i = 0; i < ridge.length; i++) if (ridge[i] === 1 && strength[i] > high) take(i)
  for (let i = open.pop(); i !== undefined; i = open.pop()) {
    const column = i % width
    const row = (i - column) / width
    for (let r = Math.max(0, row - 1); r <= Math.min(height - 1, row + 1); r++)
      for (let c = Math.max(0, column - 1); c <= Math.min(width - 1, column + 1); c++) {
        const next = r * width + c
        if (ridge[next] === 1 && edges[next] === 0) take(next)
      }
  }
  return edges
}
