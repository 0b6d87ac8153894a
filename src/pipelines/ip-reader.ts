import type { StoredWeight, Weights } from "../graph/weights.ts"
import type { Tensor } from "../ground/tensor.ts"
import { zeros } from "../ground/tensor.ts"
import { publishedClipImage } from "../models/config/clip-image.ts"
import type { ImageProjectionConfig } from "../models/image-projection.ts"
import { imageTokens } from "../models/image-projection.ts"
import type { AttentionPart } from "../models/ip-adapter.ts"
import { clipPixels } from "./clip-pixels.ts"
import { checkAllRead } from "./component.ts"
import { encoderFor, greyPixels } from "./image-encoder.ts"
import type { LoadedIpAdapter } from "./model.ts"
import type { NetworkOptions } from "./network.ts"
import { network, runAndClose } from "./network.ts"
import { rememberedTokens } from "./remembered-tokens.ts"

/** An IP-Adapter's file, of which no weight is read. */
export interface OpenedIpAdapter<Projection> {
  readonly path: string
  readonly tensors: ReadonlyMap<string, StoredWeight>
  readonly attentionPart: AttentionPart
  readonly projection: Projection
  /** For one graph. */
  readonly weights: () => Weights
}

/**
 * What makes tokens of pictures for an IP-Adapter, with the image encoder of a folder. No weight is read yet.
 * Throws a LimnError where a file is missing, a FormatError where the two do not belong together.
 */
export async function ipReader(
  { path, projection, weights: weightsOf }: OpenedIpAdapter<ImageProjectionConfig>,
  folder: string,
  running: NetworkOptions,
): Promise<LoadedIpAdapter["readTokens"]> {
  const as = projection.kind === "whole" ? "whole" : "patches"
  const { features } = projection
  const { config, see } = await encoderFor(path, { features, as }, folder, running)
  const openProjection = () =>
    network((inputs) => {
      const weights = weightsOf()
      const tokens = imageTokens(inputs.features, weights.at("image_proj"), projection)
      checkAllRead(weights, { unused: outsideProjection })
      return { tokens }
    }, running)

  return rememberedTokens(async (images) => {
    const pictures = images.flatMap((one) =>
      one
        ? clipPixels(one.image, publishedClipImage(config.imageSize))
        : as === "whole"
          ? []
          : greyPixels(config),
    )
    const seen = await see(pictures, as)
    // Of the first kind, no picture is an embedding of zeros.
    const all = images.map((one) =>
      as === "whole" && one === undefined ? zeros("float32", [1, features]) : seen.shift()!,
    )
    const made = await runAndClose(
      openProjection(),
      all.map((one) => ({ features: one })),
    )
    return made.map(({ tokens }) => tokens as Tensor<"float32">)
  })
}

/** Whether a tensor of an adapter is of its attentions, not of what makes tokens. */
export function outsideProjection(name: string): boolean {
  return !name.startsWith("image_proj.")
}
