import type { ClipTextConfig } from "../config/clip-text.ts"
import { clipEncoder } from "./clip-encoder.ts"
import { norm, normal } from "./layers.ts"
import type { ParameterSpec } from "./module.ts"
import { parametersOf } from "./module.ts"

/**
 * Every tensor of a transformers `CLIPTextModel(WithProjection)` of this configuration, named and ordered as in
 * published files, with the deviations of transformers' `CLIPPreTrainedModel._init_weights`.
 */
export function clipTextParameters(config: ClipTextConfig): ParameterSpec[] {
  const { hiddenSize: width, initializerFactor: factor } = config
  return parametersOf({
    text_model: {
      embeddings: {
        token_embedding: { weight: normal([config.vocabSize, width], 0.02 * factor) },
        position_embedding: { weight: normal([config.maxPositionEmbeddings, width], 0.02 * factor) },
      },
      encoder: clipEncoder(config, factor),
      final_layer_norm: norm(width),
    },
    text_projection:
      config.projectionDim === null
        ? undefined
        : { weight: normal([config.projectionDim, width], factor / Math.sqrt(width)) },
  })
}
