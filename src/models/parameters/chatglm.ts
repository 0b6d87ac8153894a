import type { ChatGlmConfig } from "../config/chatglm.ts"
import { constant, linear, normal, repeat } from "./layers.ts"
import type { ParameterSpec } from "./module.ts"
import { parametersOf } from "./module.ts"

/**
 * Every tensor of a diffusers `ChatGLMModel` of this configuration that its states are made from, in the order of its
 * state dict.
 */
export function chatGlmParameters(config: ChatGlmConfig): ParameterSpec[] {
  const { hiddenSize: width, numAttentionHeads: heads, groups, headWidth, ffnHiddenSize, bias } = config
  const scale = () => ({ weight: constant([width], 1) })
  return parametersOf({
    embedding: { word_embeddings: { weight: normal([config.vocabSize, width], 1) } },
    encoder: {
      layers: repeat(config.numLayers, () => ({
        input_layernorm: scale(),
        self_attention: {
          query_key_value: linear(width, (heads + 2 * groups) * headWidth, { bias: config.qkvBias }),
          dense: linear(heads * headWidth, width, { bias }),
        },
        post_attention_layernorm: scale(),
        mlp: {
          dense_h_to_4h: linear(width, 2 * ffnHiddenSize, { bias }),
          dense_4h_to_h: linear(ffnHiddenSize, width, { bias }),
        },
      })),
    },
  })
}

/** What else files hold of the language model: what comes after the last layer, and a table that limn computes itself. */
export function isChatGlmHead(name: string): boolean {
  return /^(encoder\.final_layernorm|output_layer|rotary_pos_emb)\./.test(name)
}
