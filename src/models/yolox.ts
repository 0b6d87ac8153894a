import type { Pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { Found } from "./boxes.ts"
import { apart } from "./boxes.ts"

/** Pixels from one place to the next of each of the detector's grids. */
const STRIDES = [8, 16, 32] as const

/** Values of each answer before those of the classes: the middle of a box, its size, whether there is anything. */
const BOX_VALUES = 5

/** Which of the classes are people, in COCO's order. */
const PERSON = 0

const SURE = 0.3

/** Of two boxes that share more than this of what both cover, the less sure is dropped. */
const MOST_SHARED = 0.45

/** The grey around a picture that does not fill the detector's frame. */
export const YOLOX_GREY = 114

/** Whether this is what a detector gives for pictures of that size: [1, answers, 5 + classes]. */
export function areYoloxAnswers(
  { dtype, shape }: Pick<Tensor, "dtype" | "shape">,
  { width, height }: Pick<Pixels, "width" | "height">,
): boolean {
  const answers = STRIDES.reduce(
    (sum, stride) => sum + Math.floor(width / stride) * Math.floor(height / stride),
    0,
  )
  return (
    dtype === "float32" &&
    shape.length === 3 &&
    shape[0] === 1 &&
    shape[1] === answers &&
    shape[2] > BOX_VALUES
  )
}

/**
 * The people in a detector's answers for a picture of that size, the surest first; of boxes that overlap only the surest
 * (YOLOX, Ge et al. 2021, as DWPose reads it, in its float32). `scale` is that of the picture which the detector saw, over
 * that in which boxes are given.
 */
export function yoloxPeople(
  { shape, data }: Tensor<"float32">,
  { width, height }: Pick<Pixels, "width" | "height">,
  scale: number,
): Found[] {
  const f = Math.fround
  const found: Found[] = []
  let answer = 0
  for (const stride of STRIDES)
    for (let row = 0; row < Math.floor(height / stride); row++)
      for (let column = 0; column < Math.floor(width / stride); column++, answer++) {
        const values = data.subarray(answer * shape[2], (answer + 1) * shape[2])
        const score = f(values[BOX_VALUES - 1] * values[BOX_VALUES + PERSON])
        if (!(score > SURE)) continue
        const [x, y] = [f((values[0] + column) * stride), f((values[1] + row) * stride)]
        const [across, down] = [values[2], values[3]].map((size) => f(f(f(Math.exp(size)) * stride) / 2))
        const [left, top, right, bottom] = [f(x - across), f(y - down), f(x + across), f(y + down)].map(
          (place) => f(place / f(scale)),
        )
        // What is no box, or none that can be cut out.
        if (right - left > 0 && bottom - top > 0 && Number.isFinite(right - left + bottom - top))
          found.push({ box: { left, top, right, bottom }, score })
      }
  return apart(found, MOST_SHARED)
}
