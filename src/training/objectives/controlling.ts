import { constant, input } from "../../graph/node.ts"
import type { StoredWeight } from "../../graph/weights.ts"
import { storedWeights } from "../../graph/weights.ts"
import { cannyEdges } from "../../ground/canny.ts"
import { pixels } from "../../ground/image.ts"
import { float32, type Tensor } from "../../ground/tensor.ts"
import type { ControlNetConfig } from "../../models/config/controlnet.ts"
import type { UNetConfig } from "../../models/config/unet.ts"
import { controlNet, residualScales, residualShapes } from "../../models/controlnet.ts"
import { unet } from "../../models/unet.ts"
import type { CaptionedImages } from "../dataset.ts"
import type { Objective } from "../trainer.ts"
import type { DenoisingData, DenoisingOptions } from "./denoising.ts"
import { denoisingBy } from "./denoising.ts"

/** A denoiser that stays as it is, and the ControlNet that learns to steer it. */
export interface Controlled {
  /** Weights of the denoiser by their names. */
  readonly frozen: ReadonlyMap<string, StoredWeight>
  readonly unet: UNetConfig
  readonly controlNet: ControlNetConfig
}

/**
 * A ControlNet is shown the edges of a picture and learns what to add to a denoiser that was taught already, so that
 * the two together denoise that picture (Zhang et al. 2023). Gradients flow back through the denoiser's way up.
 */
export function controlling(
  images: CaptionedImages,
  data: DenoisingData,
  { frozen, ...configs }: Controlled,
  options: DenoisingOptions,
): Objective {
  const { batchSize } = options
  // Its weights are called as those of the ControlNet are, which began as their copies.
  const apart = new Map([...frozen].map(([name, weight]) => [`unet.${name}`, weight]))
  const shape = [batchSize, 3, images.height, images.width]
  return denoisingBy(
    data,
    {
      predict(inputs, weights) {
        const count = residualShapes(configs.controlNet, inputs.sample.shape).length
        const scales = constant(residualScales(count, 1, false))
        const picture = input("picture", "float32", shape)
        const residuals = controlNet({ ...inputs, picture, scales }, weights, configs.controlNet)
        const denoiser = storedWeights(apart, "the denoiser").at("unet")
        return unet({ ...inputs, residuals }, denoiser, configs.unet)
      },
      beside: (chosen) => ({ picture: edgesOf(images, chosen) }),
    },
    options,
  )
}

/** The edges of pictures as ControlNets are shown them [n, 3, H, W], 0 or 1. */
function edgesOf(images: CaptionedImages, chosen: readonly number[]): Tensor<"float32"> {
  const { width, height } = images
  const size = width * height
  const values = new Float32Array(chosen.length * 3 * size)
  for (const [n, picture] of chosen.entries()) {
    const { data } = cannyEdges(pixels(width, height, 3, images.pixels(picture)))
    for (let i = 0; i < data.length; i++) values[(3 * n + (i % 3)) * size + Math.floor(i / 3)] = data[i] / 255
  }
  return float32([chosen.length, 3, height, width], values)
}
