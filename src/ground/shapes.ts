import type { Pixels } from "./image.ts"
import { roundHalfEven } from "./rounding.ts"
import type { Point } from "./similarity.ts"

/** Red, green and blue, 0 to 255. */
export type Colour = readonly [number, number, number]

/** Places are whole multiples of 2^-16 pixels, as in OpenCV's drawing. */
const FRACTION = 2 ** 16

/** In pixels. */
const THICKNESS = 2

/** A picture's nearest whole place. */
const near = (place: number) => Math.floor(place + 0.5)

/** Paints a convex polygon with its outline: OpenCV's `fillConvexPoly`. */
export function fillPolygon(picture: Pixels, corners: readonly Point[], colour: Colour): void {
  const rows = new Map<number, [left: number, right: number]>()
  for (const [i, corner] of corners.entries()) {
    const before = corners.at(i - 1)!
    drawThin(picture, before, corner, colour)
    const [upper, lower] = before[1] < corner[1] ? [before, corner] : [corner, before]
    const [first, end] = [near(upper[1]), near(lower[1])]
    const run = (lower[0] - upper[0]) * FRACTION
    const slope = Math.trunc((2 * run + end - first) / (2 * (end - first))) / FRACTION
    for (let y = Math.max(0, first); y < Math.min(picture.height, end); y++) {
      const x = near(upper[0] + slope * (y - first))
      const [left, right] = rows.get(y) ?? [x, x]
      rows.set(y, [Math.min(left, x), Math.max(right, x)])
    }
  }
  for (const [y, [left, right]] of rows) paintRow(picture, y, left, right, colour)
}

/** Paints a bar with round ends, two pixels thick: OpenCV's `line` of such a thickness between whole places. */
export function drawLine(picture: Pixels, a: Point, b: Point, colour: Colour): void {
  const part = clipped(a, b, picture, 1, THICKNESS)
  if (part === undefined) return
  const [from, to] = part
  const [right, down] = [to[0] - from[0], to[1] - from[1]]
  const share = FRACTION / Math.sqrt(right * right + down * down)
  if (Number.isFinite(share)) {
    // Half the thickness to either side.
    const [x, y] = [roundHalfEven(down * share) / FRACTION, roundHalfEven(-right * share) / FRACTION]
    const corners: Point[] = [
      [from[0] + x, from[1] + y],
      [from[0] - x, from[1] - y],
      [to[0] - x, to[1] - y],
      [to[0] + x, to[1] + y],
    ]
    fillPolygon(picture, corners, colour)
  }
  for (const end of part) fillDisc(picture, end, THICKNESS / 2, colour)
}

/** Paints a disc around a whole place, whose edge is the circle of Bresenham (1977): OpenCV's `circle`, filled. */
export function fillDisc(picture: Pixels, [x, y]: Point, radius: number, colour: Colour): void {
  let half = radius
  for (let row = 0, error = 0; row <= half; row++) {
    for (const [down, across] of [
      [row, half],
      [half, row],
    ]) {
      paintRow(picture, y - down, x - across, x + across, colour)
      paintRow(picture, y + down, x - across, x + across, colour)
    }
    error += 2 * row + 1
    if (error > 0) {
      error -= 2 * half - 1
      half--
    }
  }
}

/**
 * The corners of an ellipse, one for each degree, at whole places: OpenCV's `ellipse2Poly`.
 * `across` and `down` are half its size in pixels, `angle` is how far it is turned, in whole degrees.
 */
export function ellipseCorners(
  [x, y]: Point,
  { across, down, angle }: { readonly across: number; readonly down: number; readonly angle: number },
): Point[] {
  const [cos, sin] = [cosine(angle), sine(angle)]
  return Array.from({ length: 361 }, (_, degree): Point => {
    const [u, v] = [across * cosine(degree), down * sine(degree)]
    return [roundHalfEven(x + u * cos - v * sin), roundHalfEven(y + u * sin + v * cos)]
  })
}

/** Of whole degrees, to seven digits in float32, as they stand in OpenCV's table. */
function sine(degrees: number): number {
  return Math.fround(Number(Math.sin((degrees * Math.PI) / 180).toFixed(7)))
}

function cosine(degrees: number): number {
  return sine(90 - degrees)
}

/**
 * A line of single pixels: a step along its longer side, and how far the other has come by then. Between whole places it
 * begins at the left (Bresenham's line), else at the left or the top.
 */
function drawThin(picture: Pixels, a: Point, b: Point, colour: Colour): void {
  const whole = [...a, ...b].every(Number.isInteger)
  const part = clipped(a, b, picture, whole ? 1 : 1 / FRACTION)
  if (part === undefined) return
  const [from, to] = part
  const steep = Math.abs(to[1] - from[1]) > Math.abs(to[0] - from[0])
  const [along, aside] = steep ? [1, 0] : [0, 1]
  const side = whole ? 0 : along
  const [start, end] = from[side] <= to[side] ? [from, to] : [to, from]
  const [length, drift] = [Math.abs(end[along] - start[along]), end[aside] - start[aside]]
  // A little less than the drift of each step, so that halves stay behind.
  const slope = length === 0 ? 0 : Math.trunc((drift * FRACTION) / (length + 1 / FRACTION)) / FRACTION
  const direction = Math.sign(end[along] - start[along])
  const first = near(start[along])
  const limit = steep ? picture.height : picture.width
  const paint = (place: number, other: number) => {
    const [x, y] = steep ? [other, place] : [place, other]
    paintRow(picture, y, x, x, colour)
  }
  paint(near(end[along]), near(end[aside]))
  const last = first + direction * Math.floor(length)
  for (
    let place = Math.max(0, Math.min(first, last));
    place <= Math.min(limit - 1, Math.max(first, last));
    place++
  )
    paint(place, near(start[aside] + slope * Math.abs(place - first)))
}

/**
 * The part of a line within a picture and `margin` pixels around it, its ends moved along it by multiples of `unit`
 * pixels (Cohen and Sutherland; OpenCV's `clipLine`); undefined where there is none.
 */
function clipped(
  a: Point,
  b: Point,
  { width, height }: Pixels,
  unit: number,
  margin = 0,
): readonly [Point, Point] | undefined {
  const least = -margin
  const most = [width + margin - unit, height + margin - unit]
  let ends: readonly [Point, Point] = [a, b]
  for (const axis of [1, 0] as const) {
    const beyond = (end: Point) => Number(end[axis] > most[axis]) - Number(end[axis] < least)
    if (beyond(ends[0]) * beyond(ends[1]) > 0) return undefined
    for (const i of [0, 1]) {
      const [from, to] = ends
      const side = beyond(ends[i])
      if (side === 0) continue
      const edge = side < 0 ? least : most[axis]
      const drift = ((edge - ends[i][axis]) * (to[1 - axis] - from[1 - axis])) / (to[axis] - from[axis])
      const other = ends[i][1 - axis] + Math.trunc(drift / unit) * unit
      const moved: Point = axis === 0 ? [edge, other] : [other, edge]
      ends = i === 0 ? [moved, to] : [from, moved]
    }
  }
  return ends
}

function paintRow(
  { width, height, channels, data }: Pixels,
  y: number,
  left: number,
  right: number,
  colour: Colour,
): void {
  if (!(y >= 0 && y < height)) return
  for (let x = Math.max(0, left); x <= Math.min(width - 1, right); x++)
    data.set(colour, (y * width + x) * channels)
}
