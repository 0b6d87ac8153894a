import type { Value } from "../graph/value.ts"
import { sizeOf } from "../ground/shape.ts"
import { int64 } from "../ground/tensor.ts"
import { chatGlmEmbeddings, chatGlmLayers, chatGlmSurroundings, lastPosition } from "../models/chatglm.ts"
import type { ChatGlmConfig } from "../models/config/chatglm.ts"
import { chatGlmConfig } from "../models/config/chatglm.ts"
import { chatGlmParameters } from "../models/parameters/chatglm.ts"
import type { ParameterSpec } from "../models/parameters/module.ts"
import type { ChatGlmTokenizer } from "../tokenizers/chatglm.ts"
import type { Component } from "./component.ts"
import { checkAllRead, componentWeights, configPath } from "./component.ts"
import type { EncoderBase } from "./encoder-base.ts"
import type { NetworkOptions } from "./network.ts"
import { network } from "./network.ts"
import type { Stage } from "./stages.ts"
import { stagedNetwork } from "./stages.ts"

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

/** The weights of layers that are loaded together take no more than this, in the form that they run in, or are of one. */
const BLOCK_BYTES = 2 ** 30

/**
 * The encoder of diffusers' `KolorsPipeline`: its state is that before the last layer, and its pooled text that after
 * the last layer where the text ends, neither normalised. Layers whose weights take more than `blockBytes` together run
 * in blocks, of which one is in memory at a time. Nothing is loaded yet.
 */
export function chatGlmEncoder(
  { files, tokenizer }: Pick<ChatGlmParts, "files" | "tokenizer">,
  running: NetworkOptions,
  { blockBytes = BLOCK_BYTES } = {},
): ChatGlmEncoder {
  const config = chatGlmConfig(files.config, configPath(files))
  const parameters = chatGlmParameters(config)
  const weights = componentWeights(files, parameters)
  const blocks = layerBlocks(config, parameters, blockBytes / (running.precision === "fp16" ? 2 : 4))
  const blockRunning = blocks.length > 1 ? { ...running, lowMemory: true } : running
  const stages = blocks.map((block): Stage => {
    const [first, end] = block
    const describe = (inputs: Readonly<Record<string, Value>>) => {
      const { ids, attentionMask, positionIds } = inputs
      const w = weights()
      const before = first === 0 ? chatGlmEmbeddings(ids, w) : inputs[stateName(first)]
      const around = chatGlmSurroundings({ attentionMask, positionIds }, config)
      const states = [before, ...chatGlmLayers(before, around, block, w, config)]
      checkAllRead(w, { unused: (name) => !isOfLayers(name, block) })
      const last = states[states.length - 1]
      if (end < config.numLayers) return { [stateName(end)]: last }
      return { "state.0": states[states.length - 2], pooled: lastPosition(last) }
    }
    const takes = [first === 0 ? "ids" : stateName(first), "attentionMask", "positionIds"]
    return { takes, network: network(describe, blockRunning) }
  })
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
    network: stages.length === 1 ? stages[0].network : stagedNetwork(stages),
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

/** Layers `first` to before `end`. */
type Block = readonly [first: number, end: number]

/** All layers, in blocks of as many as hold no more than `mostNumbers` together. */
function layerBlocks(
  { numLayers }: ChatGlmConfig,
  parameters: readonly ParameterSpec[],
  mostNumbers: number,
): readonly Block[] {
  const numbers = parameters
    .filter(({ name }) => layerOf(name) === numLayers - 1)
    .reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  const each = Math.max(1, Math.floor(mostNumbers / numbers))
  return Array.from({ length: Math.ceil(numLayers / each) }, (_, i) => [
    i * each,
    Math.min(numLayers, (i + 1) * each),
  ])
}

/** What blocks call the state after so many layers. */
function stateName(layers: number): string {
  return `layers.${layers}`
}

/** Whether a tensor is of one of these layers; the embeddings come with the first. */
function isOfLayers(name: string, [first, end]: Block): boolean {
  const layer = layerOf(name) ?? 0
  return layer >= first && layer < end
}

/** The layer that a tensor is of, by its full name. */
function layerOf(name: string): number | undefined {
  const found = /^encoder\.layers\.(\d+)\./.exec(name)
  return found === null ? undefined : Number(found[1])
}
