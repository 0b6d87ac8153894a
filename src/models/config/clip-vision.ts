import { z } from "../../ground/schema.ts"
import { keyError, oneOf, positiveInteger, positiveNumber, readConfig } from "./fields.ts"

/** Everything that the forward pass of transformers `CLIPVisionModel(WithProjection)` depends on. */
export interface ClipVisionConfig {
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numHiddenLayers: number
  readonly numAttentionHeads: number
  readonly imageSize: number
  readonly patchSize: number
  readonly hiddenAct: "quick_gelu" | "gelu"
  readonly layerNormEps: number
  /** Width of the image embedding that is compared with a text's. */
  readonly projectionDim: number
}

const visionJson = z.object({
  hidden_size: positiveInteger.default(768),
  intermediate_size: positiveInteger.default(3072),
  num_hidden_layers: positiveInteger.default(12),
  num_attention_heads: positiveInteger.default(12),
  image_size: positiveInteger.default(224),
  patch_size: positiveInteger.default(32),
  hidden_act: oneOf("quick_gelu", "gelu").default("quick_gelu"),
  layer_norm_eps: positiveNumber.default(1e-5),
  projection_dim: positiveInteger.default(512),
})

const clipJson = z.looseObject({
  vision_config: z.looseObject({}).nullish(),
  projection_dim: positiveInteger.nullish(),
})

/**
 * The configuration of a transformers `CLIPVisionModelWithProjection` from its parsed config.json, or the vision
 * half of a whole `CLIPModel`'s ("vision_config"); `source` names that file in errors.
 * Throws a FormatError where a key is malformed, contradicts another, or asks for what limn cannot run.
 */
export function clipVisionConfig(json: unknown, source: string): ClipVisionConfig {
  const whole = readConfig(clipJson, json, source, "CLIPVisionModel")
  const projection = whole.projection_dim ? { projection_dim: whole.projection_dim } : {}
  const raw = readConfig(
    visionJson,
    { ...(whole.vision_config ?? whole), ...projection },
    source,
    "CLIPVisionModel",
  )
  if (raw.hidden_size % raw.num_attention_heads !== 0)
    throw keyError(
      source,
      "num_attention_heads",
      raw.num_attention_heads,
      `it must divide "hidden_size" ${raw.hidden_size}`,
    )
  if (raw.image_size % raw.patch_size !== 0)
    throw keyError(source, "patch_size", raw.patch_size, `it must divide "image_size" ${raw.image_size}`)
  return {
    hiddenSize: raw.hidden_size,
    intermediateSize: raw.intermediate_size,
    numHiddenLayers: raw.num_hidden_layers,
    numAttentionHeads: raw.num_attention_heads,
    imageSize: raw.image_size,
    patchSize: raw.patch_size,
    hiddenAct: raw.hidden_act,
    layerNormEps: raw.layer_norm_eps,
    projectionDim: raw.projection_dim,
  }
}
