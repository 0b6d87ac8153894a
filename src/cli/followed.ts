import { UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { edgesFor } from "../pipelines/controls.ts"
import { depthPicture, openDepthAnnotator } from "../pipelines/depth.ts"
import { openPoseAnnotator } from "../pipelines/pose.ts"
import { posePicture } from "../pipelines/pose-drawing.ts"
import type { Usage } from "../pipelines/usage.ts"
import { readPicture } from "./picture.ts"

/** What the command line says of the networks that make maps of pictures. */
export interface AnnotatorOptions {
  /** Path of an ONNX file that tells depth. */
  readonly depthModel?: string
  /** Folders or files of the two that find poses. */
  readonly poseModels?: readonly string[]
}

/** What is followed of a picture, for a family of models that draws at such a size. */
type MapFor = (
  size: { readonly width: number; readonly height: number },
  usage: Pick<Usage, "poseFaces">,
) => Pixels

/** A picture that a ControlNet follows, or of which it follows a map. */
export interface Followed {
  readonly picture: Pixels
  readonly map: MapFor
}

const kinds = ["", "canny", "depth", "pose"] as const

/**
 * Reads the pictures that are to be followed: a path, or canny:, depth: or pose: before that of a picture of which the
 * edges, the depth or the pose are. Networks look at them at once and are given up again, before the model is loaded.
 * Throws a UsageError where networks are needed and not named, or named and not needed.
 */
export async function readFollowed(
  given: readonly string[],
  { depthModel, poseModels }: AnnotatorOptions,
): Promise<readonly Followed[]> {
  const parts = given.map((text) => {
    const [, kind = "", path] = /^(?:(canny|depth|pose):)?(.*)$/s.exec(text)!
    return { kind, path }
  })
  const wants = (kind: string) => parts.some((part) => part.kind === kind)
  if (depthModel === undefined && wants("depth"))
    throw new UsageError(
      "Depth is told by a network; say where it is with --depth-model, as depth_anything_v2_vits.onnx.",
    )
  if (depthModel !== undefined && !wants("depth"))
    throw new UsageError(
      "--depth-model tells the depth of a picture; give one with --control-image depth:FILE.",
    )
  if (poseModels === undefined && wants("pose"))
    throw new UsageError(
      "Poses are found by DWPose's networks; say where they are with --pose-models, as the folder of yolox_l.onnx and dw-ll_ucoco_384.onnx.",
    )
  if (poseModels !== undefined && !wants("pose"))
    throw new UsageError("--pose-models find the pose of a picture; give one with --control-image pose:FILE.")

  const pictures = await Promise.all(parts.map(({ path }) => readPicture(path)))
  const makers: Readonly<Record<(typeof kinds)[number], (own: readonly Pixels[]) => Promise<MapFor[]>>> = {
    "": async (own) => own.map((picture) => () => picture),
    canny: async (own) => own.map((picture) => (size) => edgesFor(picture, size)),
    depth: (own) => depthMaps(own, depthModel!),
    pose: (own) => poseMaps(own, poseModels!),
  }
  const maps = new Map<Pixels, MapFor>()
  for (const kind of kinds) {
    const own = pictures.filter((_, i) => parts[i].kind === kind)
    const made = own.length === 0 ? [] : await makers[kind](own)
    for (const [i, picture] of own.entries()) maps.set(picture, made[i])
  }
  return pictures.map((picture) => ({ picture, map: maps.get(picture)! }))
}

async function depthMaps(pictures: readonly Pixels[], model: string): Promise<MapFor[]> {
  const depths = await seenBy(await openDepthAnnotator(model), pictures, (annotator, picture) =>
    annotator.depth(picture),
  )
  return depths.map((depth) => (size) => depthPicture(depth, size))
}

async function poseMaps(pictures: readonly Pixels[], models: readonly string[]): Promise<MapFor[]> {
  const poses = await seenBy(await openPoseAnnotator(models), pictures, (annotator, picture) =>
    annotator.find(picture),
  )
  // Whether there is anybody is known now.
  for (const pose of poses) posePicture(pose)
  return poses.map(
    (pose) =>
      (size, { poseFaces: faces }) =>
        posePicture(pose, { ...size, faces }),
  )
}

/** What an annotator sees in each of some pictures; it is closed after them. */
async function seenBy<A extends { close(): Promise<void> }, T>(
  annotator: A,
  pictures: readonly Pixels[],
  see: (annotator: A, picture: Pixels) => Promise<T>,
): Promise<T[]> {
  try {
    const seen: T[] = []
    for (const picture of pictures) seen.push(await see(annotator, picture))
    return seen
  } finally {
    await annotator.close()
  }
}
