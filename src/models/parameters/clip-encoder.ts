import { constant, norm, normal, repeat } from "./layers.ts"
import type { Module } from "./module.ts"

/** Sizes of a CLIP transformer, which reads texts and pictures alike. */
export interface EncoderSizes {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numHiddenLayers: number
}

/** transformers `CLIPEncoder`, with the deviations of `CLIPPreTrainedModel._init_weights` times `factor`. */
export function clipEncoder(sizes: EncoderSizes, factor: number): Module {
  const { hiddenSize: width, intermediateSize, numHiddenLayers } = sizes
  const std = factor / Math.sqrt(width)
  // Layers that are read after many residual additions start smaller, the deeper the model.
  const deepStd = std / Math.sqrt(2 * numHiddenLayers)
  return {
    layers: repeat(numHiddenLayers, () => ({
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
  }
}

/** `nn.Linear` as transformers draws it: a normal weight [out, in] and a zero bias. */
function linear(inFeatures: number, outFeatures: number, std: number): Module {
  return { weight: normal([outFeatures, inFeatures], std), bias: constant([outFeatures], 0) }
}
