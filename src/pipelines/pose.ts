import type { OnnxValueInfo } from "../formats/onnx.ts"
import type { OnnxHeader } from "../formats/onnx-header.ts"
import { FormatError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { formatShape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { areWholeBodyAnswers, shownPerson, wholeBody, wholeBodyColours } from "../models/whole-body.ts"
import { areYoloxAnswers, YOLOX_GREY, yoloxPeople } from "../models/yolox.ts"
import type { OnnxFile } from "../runtime/onnx-file.ts"
import type { SessionOptions } from "../runtime/session.ts"
import { opaque } from "./image.ts"
import { findNetworks } from "./known-networks.ts"
import { framed, normalizedTensor, outputsFor, takesPictures } from "./picture-network.ts"
import type { Pose, PoseDrawing } from "./pose-drawing.ts"
import { posePicture } from "./pose-drawing.ts"

/** Where DWPose's networks are: a folder with both, or files. */
export type PoseModelPlaces = string | readonly string[]

/** Finds people and the points of their bodies, by networks that are loaded. */
export interface PoseAnnotator {
  /**
   * The people in a picture, the surest first. Transparent parts are seen white. Throws a FormatError where a network gives
   * something else.
   */
  find(picture: Pixels): Promise<Pose>
  /** A picture's pose as ControlNets are shown it. Throws as `find` and `posePicture` do. */
  map(picture: Pixels, drawing?: PoseDrawing): Promise<Pixels>
  /** Gives the networks' memory back. */
  close(): Promise<void>
}

/** Pixels along each side of the square that the detector sees, where it does not say which it takes. */
const DETECTION_SIZE = 640

/**
 * Loads DWPose's networks (Yang et al. 2023) from files that lie here: yolox_l.onnx, which finds people, and
 * dw-ll_ucoco_384.onnx, which finds the 133 points of each. They are known by what they take and give. They run on the CPU,
 * the second once for each of the people.
 * Throws a UsageError where there is nothing at a place, a FormatError where the files are others.
 */
export async function openPoseAnnotator(
  places: PoseModelPlaces,
  { threads }: Pick<SessionOptions, "threads"> = {},
): Promise<PoseAnnotator> {
  const { detector, estimator } = await findNetworks(
    places,
    {
      detector: {
        does: "finds people, which one from a picture to one output does, as yolox_l.onnx",
        is: isDetector,
      },
      estimator: {
        does: "finds the points of bodies, which one from a picture of a fixed size to two outputs does, as dw-ll_ucoco_384.onnx",
        is: isEstimator,
      },
    },
    { what: "pose models", give: "the folder of DWPose's yolox_l.onnx and dw-ll_ucoco_384.onnx" },
  )
  const running = { device: "cpu", threads } as const
  const detecting = await detector.open(running)
  const estimating = await estimator.open(running)
  const frame = sizeOf(detector)
  const shown = sizeOf(estimator)
  const { mean, deviation } = wholeBodyColours

  async function find(given: Pixels): Promise<Pose> {
    const picture = opaque(given)
    const { letter, scale } = letterboxed(picture, frame)
    const [answers] = await outputsFor(
      detecting,
      detector.header,
      normalizedTensor(letter, [0, 0, 0], [1, 1, 1]),
    )
    if (!areYoloxAnswers(answers, frame))
      throw new FormatError(
        `${detector.path} gives ${formatShape(answers.shape)} for a picture of ${frame.width}x${frame.height}, which is not what YOLOX finds; give yolox_l.onnx.`,
      )
    const people = []
    for (const { box } of yoloxPeople(answers as Tensor<"float32">, frame, scale)) {
      const cut = normalizedTensor(shownPerson(picture, box, shown), mean, deviation)
      const points = await outputsFor(estimating, estimator.header, cut)
      if (!areWholeBodyAnswers(points, shown))
        throw new FormatError(
          `${estimator.path} gives ${points.map(({ shape }) => formatShape(shape)).join(" and ")} for a person of ${shown.width}x${shown.height}, which are not the 133 points of DWPose; give dw-ll_ucoco_384.onnx.`,
        )
      people.push(wholeBody(points as Tensor<"float32">[], box, shown))
    }
    return { width: picture.width, height: picture.height, people }
  }

  return {
    find,
    map: async (picture, drawing) => posePicture(await find(picture), drawing),
    async close() {
      await Promise.all([detecting.close(), estimating.close()])
    },
  }
}

function isDetector({ inputs, outputs }: OnnxHeader): boolean {
  return takesPictures({ inputs }) && outputs.length === 1 && outputs.every(mayHaveRows)
}

function isEstimator({ inputs, outputs }: OnnxHeader): boolean {
  const fixed =
    takesPictures({ inputs }) && inputs[0].shape.slice(2).every((side) => typeof side === "number")
  return fixed && outputs.length === 2 && outputs.every(mayHaveRows)
}

/** [B, rows, columns], or of a shape that the file does not say. */
function mayHaveRows({ shape }: OnnxValueInfo): boolean {
  return shape.length === 3 || shape.length === 0
}

/** The size of what a network sees. */
function sizeOf({ header }: OnnxFile): { readonly width: number; readonly height: number } {
  const [height, width] = header.inputs[0].shape
    .slice(2)
    .map((side) => (typeof side === "number" ? side : DETECTION_SIZE))
  return { width, height }
}

/** A picture scaled into the upper left corner of a grey frame, and by how much (YOLOX `preproc`). */
function letterboxed(
  picture: Pixels,
  { width, height }: { readonly width: number; readonly height: number },
) {
  const scale = Math.min(height / picture.height, width / picture.width)
  const side = (length: number) => Math.max(1, Math.trunc(length * scale))
  const inner = { width: side(picture.width), height: side(picture.height) }
  return { letter: framed(picture, inner, { width, height }, YOLOX_GREY), scale }
}
