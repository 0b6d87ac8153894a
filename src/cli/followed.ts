import { UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { edgesFor } from "../pipelines/controls.ts"
import { depthPicture, openDepthAnnotator } from "../pipelines/depth.ts"
import { readPicture } from "./picture.ts"

/** What the command line says of the networks that make maps of pictures. */
export interface AnnotatorOptions {
  /** Path of an ONNX file that tells depth. */
  readonly depthModel?: string
}

/** A picture that a ControlNet follows, or of which it follows a map. */
export interface Followed {
  readonly picture: Pixels
  /** What is followed where a picture of such a size is drawn. */
  at(size: { readonly width: number; readonly height: number }): Pixels
}

/** Makes of pictures what is followed of them. */
type Follow = (pictures: readonly Pixels[]) => Promise<readonly Followed["at"][]>

/**
 * Reads the pictures that are to be followed: a path, or canny: and depth: before that of a picture of which the edges or
 * the depth are. Networks look at them at once and are given up again, before the model is loaded.
 * Throws a UsageError where a network is needed and not named, or named and not needed.
 */
export async function readFollowed(
  given: readonly string[],
  { depthModel }: AnnotatorOptions,
): Promise<readonly Followed[]> {
  const parts = given.map((text) => /^(?:(canny|depth):)?(.*)$/s.exec(text)!)
  const wantsDepth = parts.some(([, kind]) => kind === "depth")
  if (depthModel === undefined && wantsDepth)
    throw new UsageError(
      "Depth is told by a network; say where it is with --depth-model, as depth_anything_v2_vits.onnx.",
    )
  if (depthModel !== undefined && !wantsDepth)
    throw new UsageError(
      "--depth-model tells the depth of a picture; give one with --control-image depth:FILE.",
    )
  const follows: Readonly<Record<string, Follow>> = {
    "": async (pictures) => pictures.map((picture) => () => picture),
    canny: async (pictures) => pictures.map((picture) => (size) => edgesFor(picture, size)),
    depth: (pictures) => depthsOf(pictures, depthModel!),
  }
  const pictures = await Promise.all(parts.map(([, , path]) => readPicture(path)))
  const followed = new Map<Pixels, Followed>()
  for (const [name, follow] of Object.entries(follows)) {
    const own = pictures.filter((_, i) => (parts[i][1] ?? "") === name)
    const maps = own.length === 0 ? [] : await follow(own)
    for (const [i, picture] of own.entries()) followed.set(picture, { picture, at: maps[i] })
  }
  return pictures.map((picture) => followed.get(picture)!)
}

async function depthsOf(pictures: readonly Pixels[], model: string) {
  const annotator = await openDepthAnnotator(model)
  try {
    const depths = []
    for (const picture of pictures) depths.push(await annotator.depth(picture))
    return depths.map(
      (depth): Followed["at"] =>
        (size) =>
          depthPicture(depth, size),
    )
  } finally {
    await annotator.close()
  }
}
