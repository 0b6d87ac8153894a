import { FormatError, LimnError, UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { pixels } from "../ground/image.ts"
import { roundHalfEven } from "../ground/rounding.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import { alignedFace } from "../models/arcface.ts"
import type { FoundFace } from "../models/scrfd.ts"
import { areScrfdOutputs, scrfdFaces } from "../models/scrfd.ts"
import type { SessionOptions } from "../runtime/session.ts"
import type { FaceModelPlaces } from "./face-models.ts"
import { readFaceModels } from "./face-models.ts"
import { opaque } from "./image.ts"
import { framed, normalizedTensor, outputsFor } from "./picture-network.ts"

/** Finds and recognises faces, by networks that are loaded. */
export interface FaceReader {
  /** The faces of a picture, the largest first. Throws a FormatError where the detector is of another form. */
  find(picture: Pixels): Promise<readonly FoundFace[]>
  /** A face as numbers that are near each other for faces of one person [1, 512], not normalised. */
  recognise(picture: Pixels, face: FoundFace): Promise<Tensor<"float32">>
  /** Gives the networks' memory back. */
  close(): Promise<void>
}

/** Pixels along each side of the square that the detector sees, where it does not say which it takes. */
const DETECTION_SIZE = 640

/**
 * Loads insightface's networks from files that lie here: `places` is a folder such as antelopev2 or buffalo_l, or files.
 * They run on the CPU, which they keep busy for less than a second.
 * Throws a UsageError where there is nothing at a place, a FormatError where the files are others.
 */
export async function openFaceReader(
  places: FaceModelPlaces,
  { threads }: Pick<SessionOptions, "threads"> = {},
): Promise<FaceReader> {
  const { detector, recogniser, size } = await readFaceModels(places)
  const running = { device: "cpu", threads } as const
  const detecting = await detector.open(running)
  const recognising = await recogniser.open(running)
  const [seen] = detector.header.inputs
  const [height, width] = seen.shape
    .slice(2)
    .map((side) => (typeof side === "number" ? side : DETECTION_SIZE))
  // MXNet's exports bring their own normalisation, as insightface knows them by.
  const first = recogniser.header.nodeNames.slice(0, 8)
  const normalises = [/^(Sub|_minus)/, /^(Mul|_mul)/].every((name) => first.some((one) => name.test(one)))

  return {
    async find(picture) {
      const { frame, scale } = letterboxed(opaque(picture), width, height)
      const outputs = await outputsFor(detecting, detector.header, pixelValues(frame, 127.5, 128))
      if (!areScrfdOutputs(outputs, width, height))
        throw new FormatError(
          `${detector.path} gives ${outputs.map(({ shape }) => `[${shape.join(", ")}]`).join(", ")} for a picture of ${width}x${height}, which are not the scores, boxes and points of insightface's detectors; give scrfd_10g_bnkps.onnx or det_10g.onnx.`,
        )
      const area = ({ box }: FoundFace) =>
        Math.fround(Math.fround(box.right - box.left) * Math.fround(box.bottom - box.top))
      const faces = scrfdFaces(outputs as Tensor<"float32">[], width, height, scale)
      return faces.sort((a, b) => area(b) - area(a))
    },
    async recognise(picture, { points }) {
      const face = alignedFace(opaque(picture), points, size)
      const values = normalises ? pixelValues(face, 0, 1) : pixelValues(face, 127.5, 127.5)
      const [embedding] = await outputsFor(recognising, recogniser.header, values)
      return float32([1, embedding.data.length], embedding.data as Float32Array)
    },
    async close() {
      await Promise.all([detecting.close(), recognising.close()])
    },
  }
}

/**
 * The face of such a place among those of a picture, 0 being the largest. Throws a LimnError where there is none at all, a
 * UsageError where there are fewer.
 */
export function chosenFace(faces: readonly FoundFace[], index: number): FoundFace {
  if (faces.length === 0)
    throw new LimnError(
      "No face was found in a picture; give one that shows a face from the front, with some room around it.",
    )
  if (faces[index] === undefined)
    throw new UsageError(
      `Face ${index} of a picture was asked for, and it has ${faces.length}; give a number from 0, the largest, to ${faces.length - 1}.`,
    )
  return faces[index]
}

/**
 * The smallest square around a face's box, with the same middle and whole pixels; black outside of the picture (Kolors'
 * sample, by Pillow's `crop`).
 */
export function squareAround(picture: Pixels, { box }: FoundFace): Pixels {
  const f = Math.fround
  const half = f(f(Math.max(f(box.right - box.left), f(box.bottom - box.top))) / 2)
  const middle = (from: number, to: number) => f(f(from + to) / 2)
  const [x, y] = [middle(box.left, box.right), middle(box.top, box.bottom)]
  const [left, top, right, bottom] = [f(x - half), f(y - half), f(x + half), f(y + half)].map(roundHalfEven)
  const { width, height, channels, data } = picture
  const out = pixels(
    right - left,
    bottom - top,
    channels,
    new Uint8Array((right - left) * (bottom - top) * channels),
  )
  for (let row = Math.max(0, top); row < Math.min(height, bottom); row++) {
    const from = Math.max(0, left)
    const until = Math.min(width, right)
    if (until <= from) break
    const line = data.subarray((row * width + from) * channels, (row * width + until) * channels)
    out.data.set(line, ((row - top) * out.width + from - left) * channels)
  }
  return out
}

/** A picture shrunk or enlarged into a corner of a black frame, and by how much. */
function letterboxed(picture: Pixels, width: number, height: number) {
  const ratio = picture.height / picture.width
  const tall = ratio > height / width
  const inner = {
    width: tall ? Math.max(1, Math.trunc(height / ratio)) : width,
    height: tall ? height : Math.max(1, Math.trunc(width * ratio)),
  }
  return { frame: framed(picture, inner, { width, height }, 0), scale: inner.height / picture.height }
}

/** (pixel - mean) / deviation, red, green and blue apart: [1, 3, H, W]. */
function pixelValues(picture: Pixels, mean: number, deviation: number): Tensor<"float32"> {
  return normalizedTensor(picture, [mean, mean, mean], [deviation, deviation, deviation])
}
