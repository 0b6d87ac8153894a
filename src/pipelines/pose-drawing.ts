import { LimnError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { pixels } from "../ground/image.ts"
import { roundHalfEven } from "../ground/rounding.ts"
import type { Colour } from "../ground/shapes.ts"
import { drawLine, ellipseCorners, fillDisc, fillPolygon } from "../ground/shapes.ts"
import type { Point } from "../ground/similarity.ts"
import type { BodyPoint, WholeBody } from "../models/whole-body.ts"
import { SEEN } from "../models/whole-body.ts"

/** The people in a picture of such a size. */
export interface Pose {
  readonly width: number
  readonly height: number
  readonly people: readonly WholeBody[]
}

/** How people are drawn. */
export interface PoseDrawing {
  /** In pixels; default: the picture's. */
  readonly width?: number
  readonly height?: number
  /** Whether with the points of faces (default), as DWPose draws; Kolors' ControlNet learnt from drawings without. */
  readonly faces?: boolean
}

/** The two ends of each limb, by their places among the points of the body. */
const limbs = [
  [1, 2],
  [1, 5],
  [2, 3],
  [3, 4],
  [5, 6],
  [6, 7],
  [1, 8],
  [8, 9],
  [9, 10],
  [1, 11],
  [11, 12],
  [12, 13],
  [1, 0],
  [0, 14],
  [14, 16],
  [0, 15],
  [15, 17],
] as const

/** Of the limbs, and of the points of the body. */
const colours: readonly Colour[] = [
  [255, 0, 0],
  [255, 85, 0],
  [255, 170, 0],
  [255, 255, 0],
  [170, 255, 0],
  [85, 255, 0],
  [0, 255, 0],
  [0, 255, 85],
  [0, 255, 170],
  [0, 255, 255],
  [0, 170, 255],
  [0, 85, 255],
  [0, 0, 255],
  [85, 0, 255],
  [170, 0, 255],
  [255, 0, 255],
  [255, 0, 170],
  [255, 0, 85],
]

/** Half the thickness of a limb, and the radius of the points of bodies and hands, in pixels. */
const THICK = 4

/** The radius of the points of faces, in pixels. */
const FACE_RADIUS = 3

/** How bright limbs are beside the points that they join. */
const LIMB_LIGHT = 0.6

/** Of hands, from the wrist along each of the five fingers. */
const bones = Array.from({ length: 20 }, (_, i) => [i % 4 === 0 ? 0 : i, i + 1] as const)

const BLUE: Colour = [0, 0, 255]
const WHITE: Colour = [255, 255, 255]

/**
 * People on black, as the ControlNets for poses are shown them: OpenPose's limbs and points, hands and faces, drawn as
 * DWPose draws them by OpenCV (Yang et al. 2023). Throws a LimnError where nobody is to be seen.
 */
export function posePicture(pose: Pose, drawing: PoseDrawing = {}): Pixels {
  const { width = pose.width, height = pose.height, faces = true } = drawing
  const parts = ({ body, leftHand, rightHand, face }: WholeBody) =>
    [body, leftHand, rightHand, ...(faces ? [face] : [])].flat()
  if (!pose.people.some((person) => parts(person).some(isSeen)))
    throw new LimnError(
      "Nobody was found in a picture whose pose is to be followed; give one that shows a person, not too small.",
    )
  const picture = pixels(width, height, 3, new Uint8Array(3 * width * height))
  // What DWPose does with shares of the picture, so that the same places are cut off to the same pixels.
  const exact = ({ x, y }: BodyPoint): Point => [(x / pose.width) * width, (y / pose.height) * height]
  const place = (point: BodyPoint): Point => {
    const [x, y] = exact(point)
    return [Math.trunc(x), Math.trunc(y)]
  }
  for (const [i, [from, to]] of limbs.entries())
    for (const { body } of pose.people)
      if (isSeen(body[from]) && isSeen(body[to]))
        drawLimb(picture, exact(body[from]), exact(body[to]), colours[i])
  for (const [i, value] of picture.data.entries()) picture.data[i] = Math.trunc(value * LIMB_LIGHT)
  for (const [i, colour] of colours.entries())
    for (const { body } of pose.people) if (isSeen(body[i])) fillDisc(picture, place(body[i]), THICK, colour)
  // Those at the left and upper edge are left out, as by DWPose.
  const inside = (point: BodyPoint): Point | undefined => {
    const [x, y] = place(point)
    return isSeen(point) && x > 0 && y > 0 ? [x, y] : undefined
  }
  for (const hand of ["leftHand", "rightHand"] as const)
    for (const person of pose.people) drawHand(picture, person[hand].map(inside))
  if (faces)
    for (const { face } of pose.people)
      for (const point of face.map(inside))
        if (point !== undefined) fillDisc(picture, point, FACE_RADIUS, WHITE)
  return picture
}

function isSeen({ x, y, score }: BodyPoint): boolean {
  return score > SEEN && Number.isFinite(x) && Number.isFinite(y)
}

/** A filled ellipse between two points. */
function drawLimb(picture: Pixels, from: Point, to: Point, colour: Colour): void {
  const [right, down] = [from[0] - to[0], from[1] - to[1]]
  const middle = [0, 1].map((axis) => Math.trunc((from[axis] + to[axis]) / 2))
  const corners = ellipseCorners([middle[0], middle[1]], {
    across: Math.trunc(Math.sqrt(right * right + down * down) / 2),
    down: THICK,
    angle: Math.trunc(Math.atan2(down, right) * (180 / Math.PI)),
  })
  fillPolygon(picture, corners, colour)
}

/** The bones of a hand in all hues, and its points. */
function drawHand(picture: Pixels, points: readonly (Point | undefined)[]): void {
  for (const [i, ends] of bones.entries()) {
    const [from, to] = ends.map((end) => points[end])
    if (from !== undefined && to !== undefined) drawLine(picture, from, to, hue(i / bones.length))
  }
  for (const point of points) if (point !== undefined) fillDisc(picture, point, THICK, BLUE)
}

/** A pure colour, from red at 0 over green and blue back to red at 1 (HSV, Smith 1978). */
function hue(share: number): Colour {
  const sixth = Math.floor(share * 6)
  const rest = share * 6 - sixth
  const [rising, falling] = [rest, 1 - rest].map((value) => roundHalfEven(255 * value))
  const around: readonly Colour[] = [
    [255, rising, 0],
    [falling, 255, 0],
    [0, 255, rising],
    [0, falling, 255],
    [rising, 0, 255],
    [255, 0, falling],
  ]
  return around[sixth]
}
