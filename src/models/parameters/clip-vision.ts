import type { ClipVisionConfig } from "../config/clip-vision.ts"
import { clipEncoder } from "./clip-encoder.ts"
import { norm, normal } from "./layers.ts"
import type { ParameterSpec } from "./module.ts"
import { parametersOf } from "./module.ts"

/**
 * Every tensor of a transformers `CLIPVisionModelWithProjection` of this configuration, named as in published
 * files, with the deviations of transformers' `CLIPPreTrainedModel._init_weights`.
 */
export function clipVisionParameters(config: ClipVisionConfig): ParameterSpec[] {
  const { hiddenSize: width, patchSize } = config
  const places = (config.imageSize / patchSize) ** 2 + 1
  return parametersOf({
    vision_model: {
      embeddings: {
        class_embedding: normal([width], 1 / Math.sqrt(width)),
        patch_embedding: { weight: normal([width, 3, patchSize, patchSize], 0.02) },
        position_embedding: { weight: normal([places, width], 0.02) },
      },
      pre_layrnorm: norm(width),
      encoder: clipEncoder(config, 1),
      post_layernorm: norm(width),
    },
    visual_projection: { weight: normal([config.projectionDim, width], 1 / Math.sqrt(width)) },
  })
}
