import { z } from "../../ground/schema.ts"
import {
  boolean,
  checkDivides,
  keyError,
  oneOf,
  positiveInteger,
  positiveNumber,
  readConfig,
} from "./fields.ts"

/** Everything that the states of diffusers' `ChatGLMModel` depend on. */
export interface ChatGlmConfig {
  readonly vocabSize: number
  readonly hiddenSize: number
  /** Width within a layer's MLP, after the gate. */
  readonly ffnHiddenSize: number
  readonly numLayers: number
  readonly numAttentionHeads: number
  /** Width of a head; of all heads together the hidden size, or another. */
  readonly headWidth: number
  /** Keys and values that the heads share: heads of one group read the same (multi-query attention). */
  readonly groups: number
  /** Positions that it can tell apart. */
  readonly seqLength: number
  readonly normEps: number
  /** Whether queries, keys and values have a bias, and whether all other layers have one. */
  readonly qkvBias: boolean
  readonly bias: boolean
}

const chatGlmJson = z.object({
  padded_vocab_size: positiveInteger.default(65024),
  hidden_size: positiveInteger,
  ffn_hidden_size: positiveInteger,
  num_layers: positiveInteger,
  num_attention_heads: positiveInteger,
  kv_channels: positiveInteger.default(128),
  multi_query_attention: oneOf(true),
  multi_query_group_num: positiveInteger.default(1),
  seq_length: positiveInteger.default(2048),
  layernorm_epsilon: positiveNumber.default(1e-5),
  rmsnorm: oneOf(true).default(true),
  apply_residual_connection_post_layernorm: oneOf(false).default(false),
  add_bias_linear: boolean.default(false),
  add_qkv_bias: boolean.default(false),
  quantization_bit: oneOf(0).default(0),
  pre_seq_len: oneOf(null).default(null),
})

/**
 * The configuration of a `ChatGLMModel`, the text encoder of Kolors, from its parsed config.json; `source` names that file
 * in errors. Unknown keys are ignored.
 * Throws a FormatError where a key is missing, malformed, contradicts another, or asks for what limn cannot run.
 */
export function chatGlmConfig(json: unknown, source: string): ChatGlmConfig {
  const raw = readConfig(chatGlmJson, json, source, "ChatGLMModel")
  const { num_attention_heads: heads, multi_query_group_num: groups, kv_channels: headWidth } = raw
  checkDivides(groups, heads, "the attention heads", "multi_query_group_num", source)
  if (headWidth % 4 !== 0)
    throw keyError(source, "kv_channels", headWidth, "half of it turns in pairs, so that 4 must divide it")
  return {
    vocabSize: raw.padded_vocab_size,
    hiddenSize: raw.hidden_size,
    ffnHiddenSize: raw.ffn_hidden_size,
    numLayers: raw.num_layers,
    numAttentionHeads: heads,
    headWidth,
    groups,
    seqLength: raw.seq_length,
    normEps: raw.layernorm_epsilon,
    qkvBias: raw.add_bias_linear || raw.add_qkv_bias,
    bias: raw.add_bias_linear,
  }
}
