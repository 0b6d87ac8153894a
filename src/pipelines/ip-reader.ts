import type { StoredWeight, Weights } from "../graph/weights.ts"
import { FormatError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import { zeros } from "../ground/tensor.ts"
import { clipVision } from "../models/clip-vision.ts"
import { publishedClipImage } from "../models/config/clip-image.ts"
import { clipVisionConfig } from "../models/config/clip-vision.ts"
import type { ImageProjectionConfig } from "../models/image-projection.ts"
import { imageTokens } from "../models/image-projection.ts"
import { clipVisionParameters } from "../models/parameters/clip-vision.ts"
import { clipPixels } from "./clip-pixels.ts"
import { checkAllRead, componentWeights, configPath, openComponent } from "./component.ts"
import type { LoadedIpAdapter } from "./model.ts"
import type { NetworkOptions } from "./network.ts"
import { network } from "./network.ts"

/** An IP-Adapter's file, of which no weight is read. */
export interface OpenedIpAdapter {
  readonly path: string
  readonly tensors: ReadonlyMap<string, StoredWeight>
  readonly projection: ImageProjectionConfig
  /** For one graph. */
  readonly weights: () => Weights
}

/** The copy of weights that is read where none is asked for. */
export function variantFor({ precision }: NetworkOptions): string | undefined {
  return precision === "fp16" ? "fp16" : undefined
}

/**
 * What makes tokens of pictures for an IP-Adapter, with the image encoder of a folder (`CLIPVisionModelWithProjection`, or
 * a whole `CLIPModel`). Tokens are remembered by their picture; the encoder, which is larger than some U-Nets, is loaded
 * for pictures that are new, and given back at once. No weight is read yet.
 * Throws a LimnError where a file is missing, a FormatError where the two do not belong together.
 */
export async function ipReader(
  adapter: OpenedIpAdapter,
  folder: string,
  running: NetworkOptions,
): Promise<LoadedIpAdapter["readTokens"]> {
  const { projection } = adapter
  const opened = await openComponent(folder, { variant: variantFor(running) })
  const config = clipVisionConfig(opened.config, configPath(opened))
  const tensors = new Map([...opened.tensors].filter(([name]) => ofVision.test(name)))
  const encoderWeights = componentWeights({ ...opened, tensors }, clipVisionParameters(config))
  const asWhole = projection.kind === "whole"
  const given = asWhole ? config.projectionDim : config.hiddenSize
  if (given !== projection.features)
    throw new FormatError(
      `The IP-Adapter ${adapter.path} reads pictures ${projection.features} wide, and the image encoder at ${folder} gives ${given}; give the one that it was trained with as imageEncoder.`,
    )

  const openEncoder = () =>
    network(({ pixels }) => {
      const weights = encoderWeights()
      const { imageEmbeds, hiddenStates } = clipVision(pixels, weights, config)
      checkAllRead(weights)
      return { features: asWhole ? imageEmbeds : hiddenStates.at(-2)! }
    }, running)
  const openProjection = () =>
    network(({ features }) => {
      const weights = adapter.weights()
      const tokens = imageTokens(features, weights.at("image_proj"), projection)
      checkAllRead(weights, { unused: (name) => name.startsWith("ip_adapter.") })
      return { tokens }
    }, running)

  const { imageSize } = config
  const known = new WeakMap<object, Tensor<"float32">>()
  /** Stands for no picture among the known. */
  const blank = {}
  return async (pictures) => {
    const missing = [...new Set(pictures)].filter((picture) => !known.has(picture ?? blank))
    const encoder = openEncoder()
    const projector = openProjection()
    const featuresOf = async (picture: Pixels | undefined) => {
      if (asWhole && picture === undefined) return zeros("float32", [1, given])
      const pixels = picture
        ? clipPixels(picture, publishedClipImage(imageSize))
        : zeros("float32", [1, 3, imageSize, imageSize])
      return (await encoder.run({ pixels })).features
    }
    try {
      const features = []
      for (const picture of missing) features.push(await featuresOf(picture))
      await encoder.close()
      for (const [i, picture] of missing.entries()) {
        const { tokens } = await projector.run({ features: features[i] })
        known.set(picture ?? blank, tokens as Tensor<"float32">)
      }
    } finally {
      await Promise.all([encoder.close(), projector.close()])
    }
    return pictures.map((picture) => known.get(picture ?? blank)!)
  }
}

/** The tensors of CLIP's half for pictures. */
const ofVision = /^(vision_model|visual_projection)\./
