import { FormatError } from "../ground/errors.ts"
import type { Tensor } from "../ground/tensor.ts"
import { zeros } from "../ground/tensor.ts"
import { clipVision } from "../models/clip-vision.ts"
import type { ClipVisionConfig } from "../models/config/clip-vision.ts"
import { clipVisionConfig } from "../models/config/clip-vision.ts"
import { clipVisionParameters } from "../models/parameters/clip-vision.ts"
import { checkAllRead, componentWeights, configPath, openComponent } from "./component.ts"
import type { NetworkOptions } from "./network.ts"
import { network, runAndClose } from "./network.ts"

/** The half of a CLIP that sees pictures. */
export interface ImageEncoder {
  readonly config: ClipVisionConfig
  /**
   * What it makes of pictures [1, 3, S, S]: the embedding of each [1, P] ("whole"), or the states of its patches before
   * the last layer [1, 1 + patches, D]. It is loaded for them, and given back at once: it is larger than some U-Nets.
   */
  see(pictures: readonly Tensor<"float32">[], as: "whole" | "patches"): Promise<Tensor<"float32">[]>
}

/** The copy of weights that is read where none is asked for. */
export function variantFor({ precision }: NetworkOptions): string | undefined {
  return precision === "fp16" ? "fp16" : undefined
}

/**
 * The image encoder in a folder (`CLIPVisionModelWithProjection`, or a whole `CLIPModel`). No weight is read yet.
 * Throws a LimnError where a file is missing, a FormatError where one is not what it should be.
 */
async function imageEncoder(folder: string, running: NetworkOptions): Promise<ImageEncoder> {
  const opened = await openComponent(folder, { variant: variantFor(running) })
  const config = clipVisionConfig(opened.config, configPath(opened))
  const tensors = new Map([...opened.tensors].filter(([name]) => ofVision.test(name)))
  const weightsOf = componentWeights({ ...opened, tensors }, clipVisionParameters(config))
  return {
    config,
    async see(pictures, as) {
      const encoder = network(({ pixels }) => {
        const weights = weightsOf()
        const { imageEmbeds, hiddenStates } = clipVision(pixels, weights, config)
        checkAllRead(weights)
        return { features: as === "whole" ? imageEmbeds : hiddenStates.at(-2)! }
      }, running)
      const outputs = await runAndClose(
        encoder,
        pictures.map((pixels) => ({ pixels })),
      )
      return outputs.map(({ features }) => features as Tensor<"float32">)
    },
  }
}

/**
 * The encoder of a folder for an IP-Adapter that reads such features. Throws as `imageEncoder` does, and a FormatError
 * where it gives others; `path` is the adapter's.
 */
export async function encoderFor(
  path: string,
  { features, as }: { readonly features: number; readonly as: "whole" | "patches" },
  folder: string,
  running: NetworkOptions,
): Promise<ImageEncoder> {
  const encoder = await imageEncoder(folder, running)
  const { projectionDim, hiddenSize } = encoder.config
  const given = as === "whole" ? projectionDim : hiddenSize
  if (given !== features)
    throw new FormatError(
      `The IP-Adapter ${path} reads pictures ${features} wide, and the image encoder at ${folder} gives ${given}; give the one that it was trained with as imageEncoder.`,
    )
  return encoder
}

/** What an encoder sees where there is no picture: grey, which is zeros after normalisation. */
export function greyPixels({ imageSize }: ClipVisionConfig): Tensor<"float32"> {
  return zeros("float32", [1, 3, imageSize, imageSize])
}

/** The tensors of CLIP's half for pictures. */
const ofVision = /^(vision_model|visual_projection)\./
