import { z } from "../../ground/schema.ts"
import {
  checkDivides,
  jsonObject,
  keyError,
  oneOf,
  positiveInteger,
  positiveNumber,
  readConfig,
  wholeNumber,
} from "./fields.ts"

/** Everything that the forward pass of transformers `CLIPTextModel(WithProjection)` depends on. */
export interface ClipTextConfig {
  readonly vocabSize: number
  readonly hiddenSize: number
  readonly intermediateSize: number
  readonly numHiddenLayers: number
  readonly numAttentionHeads: number
  /** Tokens in a sequence, the first and last marks included. */
  readonly maxPositionEmbeddings: number
  readonly hiddenAct: "quick_gelu" | "gelu"
  readonly layerNormEps: number
  /** Token whose first place is pooled; 2 marks older files, which pool at the largest token id instead. */
  readonly eosTokenId: number
  /** Width of the projected pooled embedding, or null for a `CLIPTextModel`, which has no projection. */
  readonly projectionDim: number | null
  /** Scales the deviations of a fresh initialisation. */
  readonly initializerFactor: number
}

const clipTextJson = z.object({
  architectures: z.array(z.string()).nullish(),
  vocab_size: positiveInteger.default(49408),
  hidden_size: positiveInteger,
  intermediate_size: positiveInteger,
  projection_dim: positiveInteger.nullish(),
  num_hidden_layers: positiveInteger,
  num_attention_heads: positiveInteger,
  max_position_embeddings: positiveInteger.default(77),
  hidden_act: oneOf("quick_gelu", "gelu").default("quick_gelu"),
  layer_norm_eps: positiveNumber.default(1e-5),
  eos_token_id: wholeNumber.nullish(),
  initializer_factor: positiveNumber.default(1),
})

/** What transformers leaves out of a nested `text_config`, where only departures from `CLIPTextConfig` are kept. */
const nestedDefaults = {
  hidden_size: 512,
  intermediate_size: 2048,
  projection_dim: 512,
  num_hidden_layers: 12,
  num_attention_heads: 8,
}

const clipJson = z.looseObject({
  text_config: jsonObject.nullish(),
  text_config_dict: jsonObject.nullish(),
  projection_dim: positiveInteger.nullish(),
})

/**
 * The configuration of a transformers `CLIPTextModel` or `CLIPTextModelWithProjection` from its parsed
 * config.json, or the text half of a whole `CLIPModel`'s ("text_config"); `source` names that file in errors.
 * Whether there is a projection follows from "architectures". Unknown keys are ignored.
 * Throws a FormatError where a key is missing, malformed, contradicts another, or asks for what limn cannot run.
 */
export function clipTextConfig(json: unknown, source: string): ClipTextConfig {
  const whole = readConfig(clipJson, json, source, "CLIPTextModel")
  const raw = readConfig(clipTextJson, textHalf(whole), source, "CLIPTextModel")
  checkDivides(raw.num_attention_heads, raw.hidden_size, "the hidden size", "num_attention_heads", source)
  return {
    vocabSize: raw.vocab_size,
    hiddenSize: raw.hidden_size,
    intermediateSize: raw.intermediate_size,
    numHiddenLayers: raw.num_hidden_layers,
    numAttentionHeads: raw.num_attention_heads,
    maxPositionEmbeddings: raw.max_position_embeddings,
    hiddenAct: raw.hidden_act,
    layerNormEps: raw.layer_norm_eps,
    eosTokenId: raw.eos_token_id ?? 49407,
    projectionDim: projectionDim(raw, source),
    initializerFactor: raw.initializer_factor,
  }
}

/** The text half of a `CLIPModel`'s configuration, or a text model's own as it is. */
function textHalf(whole: z.output<typeof clipJson>): object {
  // Early files hold the half twice; transformers lets "text_config_dict" win.
  const nested = whole.text_config_dict ?? whole.text_config
  if (nested == null) return whole
  const half = { ...nestedDefaults, ...nested }
  // Both projections of a CLIPModel have the width that stands beside its halves.
  return {
    ...half,
    projection_dim: whole.projection_dim ?? half.projection_dim,
    architectures: ["CLIPModel"],
  }
}

function projectionDim(raw: z.output<typeof clipTextJson>, source: string): number | null {
  const projects = ["CLIPTextModelWithProjection", "CLIPModel"]
  if (!raw.architectures?.some((name) => projects.includes(name))) return null
  if (raw.projection_dim == null)
    throw keyError(
      source,
      "projection_dim",
      raw.projection_dim ?? null,
      `${raw.architectures[0]} needs a width there`,
    )
  return raw.projection_dim
}
