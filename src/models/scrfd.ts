import type { Point } from "../ground/similarity.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { Box } from "./boxes.ts"
import { apart } from "./boxes.ts"

/** A face as a detector finds it, in pixels of the picture. */
export interface FoundFace {
  readonly box: Box
  /** How sure the detector is, 0.5 to 1. */
  readonly score: number
  /** The eyes, the tip of the nose, the corners of the mouth; those to the left in the picture before those to the right. */
  readonly points: readonly Point[]
}

/** Pixels from one place to the next of each of the detector's grids. */
const STRIDES = [8, 16, 32] as const

/** Faces that each place of a grid may find. */
const ANCHORS = 2

/** Values of each answer: its score, how far the sides of its box are, and its five points. */
const WIDTHS = [1, 4, 10] as const

const SURE = 0.5

/** Of two boxes that share more than this of what both cover, the less sure is dropped. */
const MOST_SHARED = 0.4

/** How many outputs a detector has: for each of its grids scores, boxes and points, all scores first. */
export const SCRFD_OUTPUTS = STRIDES.length * WIDTHS.length

/** Whether these are the outputs of a detector for pictures of that size, [answers, values] or [1, answers, values]. */
export function areScrfdOutputs(
  outputs: readonly Pick<Tensor, "dtype" | "shape">[],
  width: number,
  height: number,
): boolean {
  const expected = WIDTHS.flatMap((values) =>
    STRIDES.map((stride) => [answersOf(stride, width, height), values]),
  )
  return (
    outputs.length === expected.length &&
    outputs.every(({ dtype, shape }, i) => {
      const own = shape.length === 3 && shape[0] === 1 ? shape.slice(1) : shape
      return dtype === "float32" && own.length === 2 && own.every((size, axis) => size === expected[i][axis])
    })
  )
}

/**
 * The faces in a detector's outputs for a picture of that size, the surest first; of boxes that overlap only the surest
 * (SCRFD, Guo et al. 2021; insightface `RetinaFace.detect`, in its float32). `scale` is that of the picture which the
 * detector saw, over that in which places are given.
 */
export function scrfdFaces(
  outputs: readonly Tensor<"float32">[],
  width: number,
  height: number,
  scale: number,
): FoundFace[] {
  const f = Math.fround
  const found = STRIDES.flatMap((stride, grid) => {
    const [scores, boxes, points] = WIDTHS.map((_, kind) => outputs[kind * STRIDES.length + grid].data)
    const across = Math.floor(width / stride)
    const faces: FoundFace[] = []
    for (let i = 0; i < answersOf(stride, width, height); i++) {
      if (!(scores[i] >= SURE)) continue
      const place = Math.floor(i / ANCHORS)
      const centre = [(place % across) * stride, Math.floor(place / across) * stride] as const
      const at = (axis: 0 | 1, distance: number) => f(f(centre[axis] + f(distance * stride)) / f(scale))
      const [left, top, right, bottom] = boxes.subarray(4 * i, 4 * i + 4)
      faces.push({
        box: { left: at(0, -left), top: at(1, -top), right: at(0, right), bottom: at(1, bottom) },
        score: scores[i],
        points: Array.from({ length: 5 }, (_, k): Point => {
          const [x, y] = points.subarray(10 * i + 2 * k, 10 * i + 2 * k + 2)
          return [at(0, x), at(1, y)]
        }),
      })
    }
    return faces
  })
  return apart(found, MOST_SHARED)
}

/** How many answers a grid gives for pictures of that size. */
function answersOf(stride: number, width: number, height: number): number {
  return Math.floor(width / stride) * Math.floor(height / stride) * ANCHORS
}
