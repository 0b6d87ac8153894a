import type { ClipTextConfig } from "../config/clip-text.ts"
import { constant, norm, normal, repeat } from "./layers.ts"
import type { Module, ParameterSpec } from "./module.ts"
import { parametersOf } from "./module.ts"

/**
 * Every tensor of a transformers `CLIPTextModel(WithProjection)` of this configuration, named and ordered as in
 * published files, with the deviations of transformers' `CLIPPreTrainedModel._init_weights`.
 */
export function clipTextParameters(config: ClipTextConfig): ParameterSpec[] {
  const { hiddenSize: width, intermediateSize, initializerFactor: factor } = config
  const std = factor / Math.sqrt(width)
  // Layers that are read after many residual additions start smaller, the deeper the model.
  const deepStd = std / Math.sqrt(2 * config.numHiddenLayers)
  return parametersOf({
    text_model: {
      embeddings: {
        token_embedding: { weight: normal([config.vocabSize, width], 0.02 * factor) },
        position_embedding: { weight: normal([config.maxPositionEmbeddings, width], 0.02 * factor) },
      },
      encoder: {
        layers: repeat(config.numHiddenLayers, () => ({
          self_attn: {
            k_proj: linear(width, width, deepStd),
            v_proj: linear(width, width, deepStd),
            q_proj: linear(width, width, deepStd),
            out_proj: linear(width, width, std),
          },
          layer_norm1: norm(width),
          mlp: {
            fc1: linear(width, intermediateSize, std / Math.SQRT2),
            fc2: linear(intermediateSize, width, deepStd),
          },
          layer_norm2: norm(width),
        })),
      },
      final_layer_norm: norm(width),
    },
    text_projection:
      config.projectionDim === null ? undefined : { weight: normal([config.projectionDim, width], std) },
  })
}

/** `nn.Linear` as transformers draws it: a normal weight [out, in] and a zero bias. */
function linear(inFeatures: number, outFeatures: number, std: number): Module {
  return { weight: normal([outFeatures, inFeatures], std), bias: constant([outFeatures], 0) }
}
