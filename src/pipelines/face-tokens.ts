import { linear } from "../graph/ops/index.ts"
import type { Weights } from "../graph/weights.ts"
import { FormatError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { resizeImage } from "../ground/resize.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32, zeros } from "../ground/tensor.ts"
import { alignedFace } from "../models/arcface.ts"
import { publishedClipImage } from "../models/config/clip-image.ts"
import type { FaceProjectionConfig } from "../models/face-projection.ts"
import { faceTokens } from "../models/face-projection.ts"
import type { FoundFace } from "../models/scrfd.ts"
import { clipPixels } from "./clip-pixels.ts"
import { checkAllRead } from "./component.ts"
import type { FaceModelPlaces } from "./face-models.ts"
import { chosenFace, openFaceReader, squareAround } from "./faces.ts"
import { opaque } from "./image.ts"
import type { ImageEncoder } from "./image-encoder.ts"
import { encoderFor, greyPixels } from "./image-encoder.ts"
import type { OpenedIpAdapter } from "./ip-reader.ts"
import { outsideProjection } from "./ip-reader.ts"
import type { LoadedIpAdapter, SeenImage } from "./model.ts"
import type { NetworkOptions } from "./network.ts"
import { network, runAndClose } from "./network.ts"
import { rememberedTokens } from "./remembered-tokens.ts"

/** What reads faces beside an adapter's own file. */
export interface FaceReading {
  readonly faceModels: FaceModelPlaces
  /** The folder of the image encoder, where the adapter looks at faces too. */
  readonly encoder: string | undefined
  /** The layer of the U-Net that projects the text, where Kolors' adapter has its tokens go that way too. */
  readonly textProjection: (() => Weights) | undefined
}

/** Pixels along each side of an upright face in front of CLIP. */
const UPRIGHT_SIZE = 224

/** A face as an adapter reads it: its embedding [1, E], and for Plus what CLIP sees of it [1, P, F]. */
type FaceFeeds = Readonly<Record<string, Tensor<"float32">>>

/**
 * What makes tokens of the faces in pictures for an IP-Adapter (FaceID). Face models and image encoder are loaded for faces
 * that are new, and given back at once. No weight is read yet.
 *
 * Kolors' adapter takes the embedding as it is, and shows CLIP the square around the face; h94's take it at length 1, and
 * show CLIP the face turned upright. No face is an embedding of zeros, and to CLIP zeros in place of its states in Kolors,
 * grey for h94's.
 * Throws a LimnError where a file is missing, a FormatError where the files do not belong together.
 */
export async function faceTokenReader(
  { path, projection, attentionPart, weights: weightsOf }: OpenedIpAdapter<FaceProjectionConfig>,
  { faceModels, encoder: folder, textProjection }: FaceReading,
  running: NetworkOptions,
): Promise<LoadedIpAdapter["readTokens"]> {
  const fromKolors = attentionPart === "adapter_modules"
  const { structure } = projection
  const encoder =
    structure && folder !== undefined
      ? await encoderFor(path, { features: structure.features, as: "patches" }, folder, running)
      : undefined
  const openProjection = () =>
    network(({ embedding, features }) => {
      const weights = weightsOf()
      const tokens = faceTokens(embedding, features, weights.at("image_proj"), projection)
      checkAllRead(weights, { unused: outsideProjection })
      return { tokens: fromKolors && textProjection ? linear(tokens, textProjection()) : tokens }
    }, running)

  return rememberedTokens(async (images) => {
    const faces = await readFaces(images, faceModels, projection.embedding, running)
    const seen = encoder && (await seenFaces(faces, encoder, fromKolors))
    const feeds = faces.map(
      (face, i): FaceFeeds => ({
        embedding: face ? embeddingOf(face, fromKolors) : zeros("float32", [1, projection.embedding]),
        ...(seen && { features: seen[i] }),
      }),
    )
    const made = await runAndClose(openProjection(), feeds)
    return made.map(({ tokens }) => tokens as Tensor<"float32">)
  })
}

/** A face of a picture, recognised. */
interface ReadFace {
  readonly picture: Pixels
  readonly found: FoundFace
  readonly embedding: Tensor<"float32">
}

async function readFaces(
  images: readonly (SeenImage | undefined)[],
  faceModels: FaceModelPlaces,
  width: number,
  { threads }: NetworkOptions,
): Promise<readonly (ReadFace | undefined)[]> {
  if (images.every((one) => one === undefined)) return images.map(() => undefined)
  const reader = await openFaceReader(faceModels, { threads })
  try {
    const faces: (ReadFace | undefined)[] = []
    for (const one of images) {
      if (one === undefined) {
        faces.push(undefined)
        continue
      }
      const picture = opaque(one.image)
      const found = chosenFace(await reader.find(picture), one.face ?? 0)
      const embedding = await reader.recognise(picture, found)
      if (embedding.data.length !== width)
        throw new FormatError(
          `The face models at ${[faceModels].flat().join(", ")} recognise faces by ${embedding.data.length} numbers, and the IP-Adapter reads ${width}; give those that it was trained with.`,
        )
      faces.push({ picture, found, embedding })
    }
    return faces
  } finally {
    await reader.close()
  }
}

/** The states of CLIP's patches for each face. */
async function seenFaces(
  faces: readonly (ReadFace | undefined)[],
  { config, see }: ImageEncoder,
  fromKolors: boolean,
): Promise<Tensor<"float32">[]> {
  const { imageSize, patchSize, hiddenSize } = config
  const cut = ({ picture, found }: ReadFace) =>
    fromKolors
      ? resizeImage(squareAround(picture, found), imageSize, imageSize, "bicubic")
      : alignedFace(picture, found.points, UPRIGHT_SIZE)
  const pictures = faces.flatMap((face) =>
    face ? clipPixels(cut(face), publishedClipImage(imageSize)) : fromKolors ? [] : greyPixels(config),
  )
  const seen = await see(pictures, "patches")
  const patches = (imageSize / patchSize) ** 2
  return faces.map((face) =>
    face === undefined && fromKolors ? zeros("float32", [1, 1 + patches, hiddenSize]) : seen.shift()!,
  )
}

function embeddingOf({ embedding: { shape, data } }: ReadFace, fromKolors: boolean): Tensor<"float32"> {
  const length = fromKolors ? 1 : Math.hypot(...data)
  return float32(
    shape,
    data.map((value) => value / length),
  )
}
