import type { Value } from "../graph/value.ts"
import { int64 } from "../ground/tensor.ts"
import { chatGlm, lastPosition } from "../models/chatglm.ts"
import { chatGlmConfig } from "../models/config/chatglm.ts"
import { chatGlmParameters } from "../models/parameters/chatglm.ts"
import type { ChatGlmTokenizer } from "../tokenizers/chatglm.ts"
import type { Component } from "./component.ts"
import { checkAllRead, componentWeights, configPath } from "./component.ts"
import type { EncoderBase } from "./encoder-base.ts"
import type { NetworkOptions } from "./network.ts"
import { network } from "./network.ts"

/** ChatGLM3 as Kolors reads it, and the tokenizer before it. */
export interface ChatGlmEncoder extends EncoderBase {
  readonly kind: "chatglm"
  readonly tokenizer: ChatGlmTokenizer
}

/** What it is read from. */
export interface ChatGlmParts {
  readonly kind: "chatglm"
  readonly files: Component
  readonly tokenizer: ChatGlmTokenizer
}

/**
 * The encoder of diffusers' `KolorsPipeline`: its state is that before the last layer, and its pooled text that after
 * the last layer where the text ends, neither normalised. Nothing is loaded yet.
 */
export function chatGlmEncoder(
  { files, tokenizer }: Pick<ChatGlmParts, "files" | "tokenizer">,
  running: NetworkOptions,
): ChatGlmEncoder {
  const config = chatGlmConfig(files.config, configPath(files))
  const parameters = chatGlmParameters(config)
  const weights = componentWeights(files, parameters)
  const describe = ({ ids, attentionMask, positionIds }: Readonly<Record<string, Value>>) => {
    const w = weights()
    const [last, state] = chatGlm({ ids, attentionMask, positionIds }, w, config).toReversed()
    checkAllRead(w)
    return { "state.0": state, pooled: lastPosition(last) }
  }
  return {
    kind: "chatglm",
    tokenizer,
    parameters,
    hiddenSize: config.hiddenSize,
    pooledSize: config.hiddenSize,
    vocabSize: config.vocabSize,
    mostTokens: config.seqLength,
    // The reference leaves out none.
    mostSkip: 0,
    network: network(describe, running),
    rows(sections) {
      const text = sections
        .flat()
        .map((part) => part.text)
        .join("")
      const { ids, attentionMask, positionIds } = tokenizer.tokenize(text)
      const shape = [1, ids.length]
      const feeds = {
        ids: int64(shape, ids),
        attentionMask: int64(shape, attentionMask),
        positionIds: int64(shape, positionIds),
      }
      return [{ feeds, weights: Array.from(ids, () => 1) }]
    },
    dropped: (text) => tokenizer.tokenize(text).dropped,
  }
}
