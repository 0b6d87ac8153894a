import { warpAffine } from "../ground/bilinear.ts"
import type { Pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { Box } from "./boxes.ts"

/** A point of a body, in pixels of the picture, and how sure the network is, about 0 to 1. */
export interface BodyPoint {
  readonly x: number
  readonly y: number
  readonly score: number
}

/** The points of a person, in OpenPose's order. */
export interface WholeBody {
  /** Nose, neck, right shoulder, elbow and wrist, the left ones, right hip, knee and ankle, the left ones, eyes, ears: 18. */
  readonly body: readonly BodyPoint[]
  /** Big toe, little toe and heel, of the left foot and then of the right: 6. */
  readonly feet: readonly BodyPoint[]
  /** The outline from the right to the left, brows, nose, eyes and mouth: 68. */
  readonly face: readonly BodyPoint[]
  /** The wrist, and four points of each finger from the thumb on: 21. */
  readonly leftHand: readonly BodyPoint[]
  readonly rightHand: readonly BodyPoint[]
}

/** A point is seen where its score is above this. */
export const SEEN = 0.3

/** Points of COCO-WholeBody. */
const POINTS = 133

/** Places of a network's answers in each pixel of the picture that it sees. */
const SPLIT = 2

/** How much wider and higher than its box a person is shown. */
const PADDING = 1.25

/** Of ImageNet, 0 to 255. */
export const wholeBodyColours = {
  mean: [123.675, 116.28, 103.53],
  deviation: [58.395, 57.12, 57.375],
} as const

type Size = Pick<Pixels, "width" | "height">

/** What a network is shown of a picture. */
interface Window extends Size {
  readonly x: number
  readonly y: number
}

/** What is shown of a person: its box with some room around it, in the proportions of what the network sees. */
function windowAround({ left, top, right, bottom }: Box, { width, height }: Size): Window {
  const [across, down] = [(right - left) * PADDING, (bottom - top) * PADDING]
  const ratio = width / height
  const wide = across > down * ratio
  return {
    x: (left + right) * 0.5,
    y: (top + bottom) * 0.5,
    width: wide ? across : down * ratio,
    height: wide ? across / ratio : down,
  }
}

/**
 * A person cut out of a picture and scaled to the size that the network sees, black outside of the picture (RTMPose, Jiang
 * et al. 2023; mmpose `TopdownAffine`).
 */
export function shownPerson(picture: Pixels, box: Box, size: Size): Pixels {
  const f = Math.fround
  const shown = windowAround(box, size)
  // The scales of both directions, by points that lie half the width from the middle, in float32.
  const [x, y] = [f(shown.x), f(shown.y)]
  const above = f(shown.y - shown.width / 2)
  const half = size.width / 2
  const across = half / (x - f(x - f(y - above)))
  const down = half / (y - above)
  return warpAffine(
    picture,
    [across, 0, half - across * x, 0, down, size.height / 2 - down * y],
    size.width,
    size.height,
  )
}

/** Whether these are the answers of a network that sees pictures of that size: of both directions [1, 133, places]. */
export function areWholeBodyAnswers(
  answers: readonly Pick<Tensor, "dtype" | "shape">[],
  { width, height }: Size,
): boolean {
  return (
    answers.length === 2 &&
    [width, height].every((length, i) => {
      const { dtype, shape } = answers[i]
      return dtype === "float32" && shape.join() === [1, POINTS, SPLIT * length].join()
    })
  )
}

/**
 * The points of the person in a box, from a network's answers for what it was shown: the likeliest place in each direction
 * (SimCC, Li et al. 2022), as sure as the less sure of both. Between the shoulders lies the neck, seen where both are.
 */
export function wholeBody(answers: readonly Tensor<"float32">[], box: Box, size: Size): WholeBody {
  const shown = windowAround(box, size)
  const points = Array.from({ length: POINTS }, (_, i): BodyPoint => {
    const [across, down] = answers.map(({ shape, data }) => {
      const row = data.subarray(i * shape[2], (i + 1) * shape[2])
      const score = row.reduce((most, one) => (one > most ? one : most), Number.NEGATIVE_INFINITY)
      return { place: row.indexOf(score) / SPLIT, score }
    })
    const score = Math.min(across.score, down.score)
    return {
      x: (across.place / size.width) * shown.width + shown.x - shown.width / 2,
      y: (down.place / size.height) * shown.height + shown.y - shown.height / 2,
      score,
    }
  })
  const [right, left] = [points[6], points[5]]
  const neck: BodyPoint = {
    x: (left.x + right.x) / 2,
    y: (left.y + right.y) / 2,
    score: left.score > SEEN && right.score > SEEN ? 1 : 0,
  }
  return {
    body: [...bodyOrder.slice(0, 1).map((i) => points[i]), neck, ...bodyOrder.slice(1).map((i) => points[i])],
    feet: points.slice(17, 23),
    face: points.slice(23, 91),
    leftHand: points.slice(91, 112),
    rightHand: points.slice(112, POINTS),
  }
}

/** COCO's points of the body in OpenPose's order, without its neck, which comes second. */
const bodyOrder = [0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15, 2, 1, 4, 3]
