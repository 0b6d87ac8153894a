import { input } from "../graph/node.ts"
import {
  quantizableWeights,
  quantizeProducts,
  TURNED_TOGETHER,
  turnableWeights,
  turnProducts,
} from "../graph/passes/quantize.ts"
import type { Value } from "../graph/value.ts"
import { int64 } from "../ground/tensor.ts"
import { chatGlmEmbeddings, chatGlmLayers, chatGlmSurroundings, lastPosition } from "../models/chatglm.ts"
import { chatGlmConfig } from "../models/config/chatglm.ts"
import { chatGlmParameters } from "../models/parameters/chatglm.ts"
import { sumsIntegers } from "../runtime/kernel-checks.ts"
import type { ChatGlmTokenizer } from "../tokenizers/chatglm.ts"
import type { LayerBlock, TextPrecision } from "./chatglm-blocks.ts"
import {
  BLOCK_BYTES,
  integerFormats,
  isOfAttention,
  isOfLayers,
  layerBlocks,
  layerBytes,
  readingBytes,
} from "./chatglm-blocks.ts"
import type { Component } from "./component.ts"
import { checkAllRead, componentWeights, configPath } from "./component.ts"
import type { EncoderBase, TextFeeds } from "./encoder-base.ts"
import { int8Weights } from "./int8-weights.ts"
import type { NetworkOptions, Pass } from "./network.ts"
import { network } from "./network.ts"
import { quantizedWeights, roundedPlace } from "./quantized-weights.ts"
import type { QuantizeProgress } from "./rounded-file.ts"
import type { Stage } from "./stages.ts"
import { stagedNetwork } from "./stages.ts"

/** ChatGLM3 as Kolors reads it, and the tokenizer before it. */
export interface ChatGlmEncoder extends EncoderBase {
  readonly kind: "chatglm"
  readonly tokenizer: ChatGlmTokenizer
  /** What its matrices are kept in. */
  readonly kept: TextPrecision
  /** About how much memory reading a text takes with its matrices kept so. */
  readingBytes(kept: TextPrecision): number
}

/** What it is read from. */
export interface ChatGlmParts {
  readonly kind: "chatglm"
  readonly files: Component
  readonly tokenizer: ChatGlmTokenizer
}

/** How products run over integers. */
interface OverIntegers {
  readonly pass: Pass
  /** Whether their weights have to be rearranged when they are loaded, whatever that takes. */
  readonly rearranged: boolean
}

/** How ChatGLM is read and run. */
export interface ChatGlmOptions {
  /** What its matrices are kept in; default: float32, or float16 where the model runs in half precision. */
  readonly textEncoder?: TextPrecision
  /** Stops the rounding to integers. */
  readonly signal?: AbortSignal
  /** Follows the rounding to integers, which is done once for each checkpoint. */
  readonly onQuantize?: (progress: QuantizeProgress) => void
  /** Layers that are loaded together take no more than this, or are one. */
  readonly blockBytes?: number
}

/**
 * The encoder of diffusers' `KolorsPipeline`: its state is that before the last layer, and its pooled text that after
 * the last layer where the text ends, neither normalised. Layers that take more than `blockBytes` together run in blocks,
 * of which one is in memory at a time. Nothing is loaded yet; matrices are rounded where integers are asked for the first
 * time. Throws as `quantizedWeights` does.
 */
export async function chatGlmEncoder(
  { files, tokenizer }: Pick<ChatGlmParts, "files" | "tokenizer">,
  running: NetworkOptions,
  { textEncoder, signal, onQuantize, blockBytes = BLOCK_BYTES }: ChatGlmOptions = {},
): Promise<ChatGlmEncoder> {
  const config = chatGlmConfig(files.config, configPath(files))
  const parameters = chatGlmParameters(config)
  const weights = componentWeights(files, parameters)
  const describe = (inputs: Readonly<Record<string, Value>>, block: LayerBlock) => {
    const [first, end] = block
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

  const precision = textEncoder === "float32" ? "fp32" : running.precision
  /** Makes integers where they are not there yet. */
  const quantize = async (precision: "int8" | "int4"): Promise<OverIntegers> => {
    const token = ["ids", "attentionMask", "positionIds"].map((name) => [name, input(name, "int64", [1, 1])])
    const whole = describe(Object.fromEntries(token), [0, config.numLayers])
    const following = { signal, onProgress: onQuantize }
    if (precision === "int8" && running.device === "cpu" && (await sumsIntegers())) {
      const options = { ...following, turnedTogether: TURNED_TOGETHER, twice: isOfAttention }
      const made = await int8Weights(roundedPlace(files, precision), files, turnableWeights(whole), options)
      return { pass: (outputs) => turnProducts(outputs, made()), rearranged: false }
    }
    // Blocks are summed exactly on every processor, and GPUs have kernels for them.
    const format = integerFormats[precision]
    const names = quantizableWeights(whole, format)
    const made = await quantizedWeights(files, names, { ...format, ...following })
    return { pass: (outputs) => quantizeProducts(outputs, made(), format), rearranged: true }
  }
  const overIntegers =
    textEncoder === "int8" || textEncoder === "int4" ? await quantize(textEncoder) : undefined

  const kept = textEncoder ?? "float32"
  const bytes = layerBytes(parameters)
  const blocks = layerBlocks(config.numLayers, bytes[kept], blockBytes)
  const sparing = blocks.length > 1 || running.lowMemory === true
  const lowMemory = sparing && overIntegers?.rearranged !== true
  const blockRunning: NetworkOptions = { ...running, precision, lowMemory, keepLoaded: !sparing }
  const stages = blocks.map((block, i): Stage => {
    const takes = ({ ids, attentionMask, positionIds }: TextFeeds) => {
      const state = { dtype: "float32", shape: [...ids.shape, config.hiddenSize] } as const
      return { ...(i === 0 ? { ids } : { [stateName(block[0])]: state }), attentionMask, positionIds }
    }
    // In two lanes, since to rearrange a block's weights takes one core as long as two take to run it.
    const layers = network((inputs) => describe(inputs, block), { ...blockRunning, lane: i % 2 })
    return { takes, network: overIntegers ? layers.rewritten(overIntegers.pass) : layers }
  })
  return {
    kind: "chatglm",
    tokenizer,
    kept,
    readingBytes: (as) => readingBytes(config.numLayers, bytes[as], blockBytes),
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

/** What blocks call the state after so many layers. */
function stateName(layers: number): string {
  return `layers.${layers}`
}
