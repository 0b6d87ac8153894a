import { LimnError } from "./errors.ts"

/** A place in a picture, in pixels from its top left corner. */
export type Point = readonly [x: number, y: number]

/** Takes [x, y] to [a x + b y + c, d x + e y + f]. */
export type Affine = readonly [a: number, b: number, c: number, d: number, e: number, f: number]

/**
 * The turn, scale and move that takes points nearest to others, by the least sum of squares (Umeyama 1991; skimage
 * `SimilarityTransform`). Throws a LimnError where all points are one.
 */
export function similarityTransform(from: readonly Point[], to: readonly Point[]): Affine {
  const origin = middle(from)
  const target = middle(to)
  let spread = 0
  let along = 0
  let across = 0
  for (const [i, [x, y]] of from.entries()) {
    const [dx, dy] = [x - origin[0], y - origin[1]]
    const [u, v] = [to[i][0] - target[0], to[i][1] - target[1]]
    spread += dx * dx + dy * dy
    along += dx * u + dy * v
    across += dx * v - dy * u
  }
  if (!(spread > 0)) throw new LimnError("Points that all lie in one place have no direction or size.")
  const cos = along / spread
  const sin = across / spread
  return [
    cos,
    -sin,
    target[0] - cos * origin[0] + sin * origin[1],
    sin,
    cos,
    target[1] - sin * origin[0] - cos * origin[1],
  ]
}

function middle(points: readonly Point[]): Point {
  const mean = (axis: 0 | 1) => points.reduce((sum, point) => sum + point[axis], 0) / points.length
  return [mean(0), mean(1)]
}
