import {
  add,
  concat,
  convolve,
  expand,
  layerNorm,
  linear,
  reshape,
  slice,
  toSequence,
} from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import type { ClipVisionConfig } from "./config/clip-vision.ts"
import { clipLayers } from "./layers/clip-layers.ts"

/** What CLIP makes of a picture. */
export interface ClipVision {
  /** The embeddings after the first normalisation, then the output of every layer, each [B, 1 + patches, D]. */
  readonly hiddenStates: readonly Value[]
  /** What is compared with a text's [B, P]. */
  readonly imageEmbeds: Value
}

/**
 * CLIP's vision transformer (Radford et al. 2021).   pixels [B, 3, S, S], normalised as the checkpoint's
 * preprocessor says.
 * Weight names: transformers `CLIPVisionModelWithProjection`.
 */
export function clipVision(pixels: Value, weights: Weights, config: ClipVisionConfig): ClipVision {
  const w = weights.at("vision_model")
  const eps = config.layerNormEps
  const embeddings = w.at("embeddings")
  const patch = embeddings.at("patch_embedding").get("weight")
  const patches = toSequence(convolve(pixels, patch, undefined, { stride: config.patchSize }))
  const [b, , d] = patches.shape
  const summary = expand(reshape(embeddings.get("class_embedding"), [1, 1, d]), [b, 1, d])
  const placed = add(concat([summary, patches], 1), embeddings.at("position_embedding").get("weight"))
  const hiddenStates = clipLayers(layerNorm(placed, w.at("pre_layrnorm"), { eps }), w.at("encoder"), config)
  const first = reshape(slice(hiddenStates.at(-1)!, 1, 0, 1), [b, d])
  const pooled = layerNorm(first, w.at("post_layernorm"), { eps })
  return { hiddenStates, imageEmbeds: linear(pooled, weights.at("visual_projection")) }
}
