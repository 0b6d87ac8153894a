import type { Pixels } from "./image.ts"
import { roundHalfEven } from "./rounding.ts"
import type { Point } from "./similarity.ts"

/** Red, green and blue, 0 to 255. */
export type Colour = readonly [number, number, number]

/** Places are whole multiples of 2^-16 pixels, as in OpenCV's drawing. */
const FRACTION = 2 ** 16

/** A picture's nearest whole place. */
const near = (place: number) => Math.floor(place + 0.5)

/** Paints a convex polygon with its outline: OpenCV's `fillConvexPoly`, but for lines that leave the picture. */
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
export function drawLine(picture: Pixels, from: Point, to: Point, colour: Colour): void {
  const [right, down] = [to[0] - from[0], to[1] - from[1]]
  const share = FRACTION / Math.sqrt(right * right + down * down)
  if (Number.isFinite(share)) {
    const [x, y] = [roundHalfEven(down * share) / FRACTION, roundHalfEven(-right * share) / FRACTION]
    const corners: Point[] = [
      [from[0] + x, from[1] + y],
      [from[0] - x, from[1] - y],
      [to[0] - x, to[1] - y],
      [to[0] + x, to[1] + y],
    ]
    fillPolygon(picture, corners, colour)
  }
  for (const end of [from, to]) fillDisc(picture, end, 1, colour)
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
  const steep = Math.abs(b[1] - a[1]) > Math.abs(b[0] - a[0])
  const whole = [...a, ...b].every(Number.isInteger)
  const [along, aside] = steep ? [1, 0] : [0, 1]
  const side = whole ? 0 : along
  const [start, end] = a[side] <= b[side] ? [a, b] : [b, a]
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
  // Only the steps within the picture.
  const [from, until] = direction < 0 ? [first - limit + 1, first] : [-first, limit - 1 - first]
  for (let k = Math.max(0, from); k <= Math.min(Math.floor(length), until); k++)
    paint(first + direction * k, near(start[aside] + slope * k))
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
