import { UsageError } from "../ground/errors.ts"
import type { HubOptions } from "../pipelines/hub-model.ts"
import { ipAdapter } from "../pipelines/ip-adapter.ts"
import type { IpAdapter, SeenImage } from "../pipelines/model.ts"
import type { Settings } from "../pipelines/settings.ts"
import { readPicture } from "./picture.ts"

/** What commands that draw can be told of an IP-Adapter that reads faces. */
export interface FaceOptions {
  readonly faceId?: string
  /** Paths of the pictures whose faces it reads. */
  readonly face?: readonly string[]
  /** Folders or files of insightface's networks. */
  readonly faceModels?: readonly string[]
  /** Which face of each picture, from the largest, 0; one number for all of them, or one for each. */
  readonly faceIndex?: readonly number[]
  readonly faceScale?: number
  /** The folder of its image encoder. */
  readonly faceEncoder?: string
}

/** The faces that are given to read. Throws a UsageError where there are none for an adapter, or none to read them. */
export async function readFaceImages(options: FaceOptions): Promise<readonly SeenImage[]> {
  const { faceId, face = [], faceModels, faceIndex = [], faceScale, faceEncoder } = options
  if (faceId === undefined) {
    const given = {
      "": face[0],
      "-models": faceModels,
      "-index": faceIndex[0],
      "-scale": faceScale,
      "-encoder": faceEncoder,
    }
    for (const [name, value] of Object.entries(given))
      if (value !== undefined)
        throw new UsageError(
          `--face${name} is for an IP-Adapter that reads faces; say where that is with --face-id.`,
        )
    return []
  }
  if (face.length === 0)
    throw new UsageError("A FaceID adapter draws after faces; give a picture of one with --face.")
  if (faceModels === undefined)
    throw new UsageError(
      "Faces are read by insightface's networks; say where they are with --face-models, as the folder antelopev2 or buffalo_l.",
    )
  if (faceIndex.length > 1 && faceIndex.length !== face.length)
    throw new UsageError(
      `--face-index goes once for all of --face, or once for each; they number ${faceIndex.length} and ${face.length}.`,
    )
  const pictures = await Promise.all(face.map(readPicture))
  return pictures.map((image, i) => ({ image, face: faceIndex[i] ?? faceIndex[0] ?? 0 }))
}

/** The IP-Adapter that reads faces, where one is given, as a list. */
export function faceAdditions(options: FaceOptions, fetching: HubOptions): readonly IpAdapter[] {
  const { faceId, faceScale: scale, faceEncoder: imageEncoder, faceModels } = options
  return faceId === undefined ? [] : [ipAdapter(faceId, { ...fetching, scale, imageEncoder, faceModels })]
}

/**
 * What is given, and where it is not, the scale and the faces that a picture's file names. Throws a UsageError where no
 * adapter is given for them, or the file names several, of which the command line takes one.
 */
export function facesAgain(
  options: FaceOptions,
  named: NonNullable<Settings["ipAdapters"]>,
  path: string,
): FaceOptions {
  if (named.length > 1)
    throw new UsageError(
      `${path} was drawn with ${named.length} adapters that read faces, and the command line takes one; draw it by limn's textToImage.`,
    )
  const [one] = named
  if (one === undefined) return {}
  if (options.faceId === undefined)
    throw new UsageError(
      `${path} was drawn with the FaceID adapter ${JSON.stringify(one.name)}; say where that is with --face-id, whose faces it read with --face, and by which networks with --face-models.`,
    )
  const { faceScale = typeof one.scale === "number" ? one.scale : undefined } = options
  const sameCount = one.faces?.length === options.face?.length
  return { faceScale, faceIndex: options.faceIndex ?? (sameCount ? one.faces : undefined) }
}

/** Throws a UsageError where faces are given to what looks through one IP-Adapter alone. */
export function refuseFaces(what: string, { faceId, face }: FaceOptions): void {
  if (faceId !== undefined || face !== undefined)
    throw new UsageError(`${what} looks through its --ip-adapter alone; leave --face-id and --face away.`)
}
