import type { Pixels } from "../src/ground/image.ts"
import { pixels } from "../src/ground/image.ts"
import type { Random } from "./random.ts"
import { between, pick } from "./random.ts"
import type { Rgb } from "./recolour.ts"
import { spriteSize } from "./sprites.ts"

/** Side of a composed picture in pixels. */
export const canvasSize = 64

/** What compositing needs of a sprite: 64x64 RGBA with straight alpha, and the box around what is visible in it. */
export interface Stamp {
  readonly rgba: Uint8Array
  readonly box: readonly [number, number, number, number]
}

/** A stamp's place: the centre of its visible box on the canvas, and the factor from sprite to canvas pixels (at most 1). */
export interface Placement {
  readonly stamp: Stamp
  readonly x: number
  readonly y: number
  readonly scale: number
}

/** Where the first of two things is, seen from the second. */
export type Side = "left" | "right" | "above" | "below"

const plainSizes = [0.86, 0.89] as const // of the canvas
const plainShift = 0.5 // pixels off the middle, at most
const pairSize = 28.5 // pixels, the larger side of each of two things
const largestZoom = 1.15 // a drawing that leaves its frame empty is small on purpose; grow it by no more than this

/** Places a stamp's visible box around (x, y) so that its larger side is `side` pixels, wholly inside the canvas. */
export function placeStamp(stamp: Stamp, x: number, y: number, side: number): Placement {
  const [left, top, right, bottom] = stamp.box
  const [width, height] = [right - left, bottom - top]
  const scale = Math.min(side / Math.max(width, height), (side / spriteSize) * largestZoom, 1)
  const [halfWidth, halfHeight] = [(width * scale) / 2, (height * scale) / 2]
  return {
    stamp,
    x: Math.min(Math.max(x, halfWidth), canvasSize - halfWidth),
    y: Math.min(Math.max(y, halfHeight), canvasSize - halfHeight),
    scale,
  }
}

/** One thing, large and nearly in the middle. */
export function placeOne(stamp: Stamp, random: Random): Placement[] {
  const middle = canvasSize / 2
  const side = between(random, ...plainSizes) * canvasSize
  const x = middle + between(random, -plainShift, plainShift)
  return [placeStamp(stamp, x, middle + between(random, -plainShift, plainShift), side)]
}

/** Where several of one thing go: the larger side of each in pixels, and the centres' columns and rows. */
interface Layout {
  readonly side: number
  readonly columns: readonly number[]
  readonly rows: readonly number[]
}

// Several layouts for a number are equally likely.
const layouts: Readonly<Record<number, readonly Layout[]>> = {
  2: [{ side: 28, columns: [16, 48], rows: [32, 32] }],
  3: [
    { side: 28, columns: [32, 16, 48], rows: [16, 48, 48] },
    { side: 19.5, columns: [11, 32, 53], rows: [32, 32, 32] },
  ],
  4: [{ side: 28, columns: [16, 48, 16, 48], rows: [16, 16, 48, 48] }],
  5: [
    { side: 21, columns: [12, 52, 32, 12, 52], rows: [12, 12, 32, 52, 52] },
    { side: 19.5, columns: [11, 32, 53, 21, 43], rows: [19, 19, 19, 45, 45] },
  ],
}

/** The same thing 2 to 5 times, in one of the layouts for that number. */
export function placeMany(stamp: Stamp, count: number, random: Random): Placement[] {
  const layout = pick(random, layouts[count])
  const side = layout.side * between(random, 0.92, 1)
  const near = (centre: number) => centre + between(random, -0.7, 0.7)
  return layout.columns.map((x, i) => placeStamp(stamp, near(x), near(layout.rows[i]), side))
}

/** Two things, the first to the given side of the second. */
export function placePair(first: Stamp, second: Stamp, side: Side, random: Random): Placement[] {
  const near = canvasSize * 0.25
  const far = canvasSize - near
  const level = () => canvasSize / 2 + between(random, -3, 3)
  const size = () => pairSize * between(random, 0.92, 1.04)
  const start = side === "left" || side === "above"
  const [a, b] = start ? [near, far] : [far, near]
  const across = side === "left" || side === "right"
  return [
    across ? placeStamp(first, a, level(), size()) : placeStamp(first, level(), a, size()),
    across ? placeStamp(second, b, level(), size()) : placeStamp(second, level(), b, size()),
  ]
}

/** For each canvas pixel from `first`, which source pixels lie under it and how much of it each covers. */
interface Taps {
  readonly first: number
  readonly starts: Int32Array
  readonly counts: Int32Array
  readonly weights: Float32Array
  readonly stride: number
}

/** Area-averaging taps along one axis for source pixels [low, high) moved to `origin + source * scale`. */
function areaTaps(low: number, high: number, origin: number, scale: number): Taps {
  const first = Math.max(0, Math.floor(origin + low * scale))
  const last = Math.min(canvasSize, Math.ceil(origin + high * scale - 1e-6))
  const size = Math.max(0, last - first)
  const stride = Math.ceil(1 / scale) + 2
  const starts = new Int32Array(size)
  const counts = new Int32Array(size)
  const weights = new Float32Array(size * stride)
  for (let i = 0; i < size; i++) {
    const from = Math.max(low, (first + i - origin) / scale)
    const to = Math.min(high, (first + i + 1 - origin) / scale)
    starts[i] = Math.floor(from)
    counts[i] = Math.max(0, Math.ceil(to) - starts[i])
    for (let k = 0; k < counts[i]; k++) {
      const pixel = starts[i] + k
      weights[i * stride + k] = Math.max(0, Math.min(pixel + 1, to) - Math.max(pixel, from)) * scale
    }
  }
  return { first, starts, counts, weights, stride }
}

const rowBuffer = new Float32Array(spriteSize * canvasSize * 4)

/** Draws one stamp over RGB bytes: area average of premultiplied colour, then "over". */
function stampOver(canvas: Uint8Array, { stamp, x, y, scale }: Placement): void {
  const [left, top, right, bottom] = stamp.box
  const rgba = stamp.rgba
  const across = areaTaps(left, right, x - ((left + right) / 2) * scale, scale)
  const down = areaTaps(top, bottom, y - ((top + bottom) / 2) * scale, scale)
  const width = across.starts.length
  for (let row = top; row < bottom; row++)
    for (let i = 0; i < width; i++) {
      let r = 0
      let g = 0
      let b = 0
      let a = 0
      let at = (row * spriteSize + across.starts[i]) * 4
      for (let k = 0; k < across.counts[i]; k++, at += 4) {
        const alpha = across.weights[i * across.stride + k] * (rgba[at + 3] / 255)
        r += alpha * rgba[at]
        g += alpha * rgba[at + 1]
        b += alpha * rgba[at + 2]
        a += alpha
      }
      const to = (row * canvasSize + i) * 4
      rowBuffer[to] = r
      rowBuffer[to + 1] = g
      rowBuffer[to + 2] = b
      rowBuffer[to + 3] = a
    }
  for (let j = 0; j < down.starts.length; j++)
    for (let i = 0; i < width; i++) {
      let r = 0
      let g = 0
      let b = 0
      let a = 0
      for (let k = 0; k < down.counts[j]; k++) {
        const weight = down.weights[j * down.stride + k]
        const at = ((down.starts[j] + k) * canvasSize + i) * 4
        r += weight * rowBuffer[at]
        g += weight * rowBuffer[at + 1]
        b += weight * rowBuffer[at + 2]
        a += weight * rowBuffer[at + 3]
      }
      if (a === 0) continue
      const to = ((down.first + j) * canvasSize + across.first + i) * 3
      canvas[to] = Math.min(255, r + canvas[to] * (1 - a) + 0.5)
      canvas[to + 1] = Math.min(255, g + canvas[to + 1] * (1 - a) + 0.5)
      canvas[to + 2] = Math.min(255, b + canvas[to + 2] * (1 - a) + 0.5)
    }
}

/** 64x64 RGB: the background, with each placement drawn over what came before it. */
export function composePicture(placements: readonly Placement[], background: Rgb): Pixels {
  const canvas = new Uint8Array(canvasSize * canvasSize * 3)
  canvas.set(background)
  for (let filled = 3; filled < canvas.length; filled *= 2) canvas.copyWithin(filled, 0, filled)
  for (const placement of placements) stampOver(canvas, placement)
  return pixels(canvasSize, canvasSize, 3, canvas)
}
