import { concat } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { StoredWeight, Weights } from "../graph/weights.ts"
import { storedWeights } from "../graph/weights.ts"
import type { Tensor } from "../ground/tensor.ts"
import { int64 } from "../ground/tensor.ts"
import { clipText, endPosition, normalisedState, pooledText } from "../models/clip-text.ts"
import type { ClipTextConfig } from "../models/config/clip-text.ts"
import type { Tokenizer } from "../tokenizers/clip-bpe.ts"
import { checkAllRead } from "./component.ts"
import type { Family } from "./family.ts"
import { type Network, type NetworkOptions, network } from "./network.ts"

/** A word that an encoder did not know when it was trained. */
export interface LearntWord {
  readonly word: string
  /** Its embeddings [N, D]: it stands for N tokens. */
  readonly vectors: StoredWeight
}

/** One of a model's text encoders, and the tokenizer before it. */
export interface TextEncoder {
  readonly tokenizer: Tokenizer
  readonly config: ClipTextConfig
  /** The words beside its vocabulary, whose ids follow those of the vocabulary in this order. */
  readonly learnt: readonly LearntWord[]
  /**
   * What `textFeeds` makes of a row of ids -> `state.0` ... [1, T, D]: the state that the denoiser reads, and with so
   * many more of the last layers left out; and of an encoder with a projection `pooled` [1, P].
   */
  readonly network: Network
  /** The same encoder over the same weights with one more word; UsageError where the tokenizer refuses that. */
  extend(word: LearntWord): TextEncoder
}

/** An encoder whose states are read as the family does. Nothing is loaded yet. */
export function textEncoder(
  weights: () => Weights,
  config: ClipTextConfig,
  tokenizer: Tokenizer,
  family: Family,
  running: NetworkOptions,
  learnt: readonly LearntWord[] = [],
): TextEncoder {
  const describe = ({ ids, end, places }: Readonly<Record<string, Value>>) => {
    const w = weights()
    const rows = learnt.length > 0 ? { rows: rowsOf(learnt), places } : undefined
    const { hiddenStates, lastHiddenState } = clipText(ids, w, config, rows)
    const states = hiddenStates.toReversed()
    const read =
      family.textStates === "penultimate"
        ? states.slice(1)
        : states.map((state) => normalisedState(state, w, config))
    const outputs = read.map((state, skip): [string, Value] => [`state.${skip}`, state])
    if (config.projectionDim !== null) outputs.push(["pooled", pooledText(lastHiddenState, end, w)])
    checkAllRead(w)
    return Object.fromEntries(outputs)
  }
  return {
    tokenizer,
    config,
    learnt,
    network: network(describe, running),
    extend(word) {
      const [count] = word.vectors.shape
      const extended = tokenizer.extend(word.word, config.vocabSize + rowCount(learnt), count)
      return textEncoder(weights, config, extended, family, running, [...learnt, word])
    },
  }
}

/**
 * What an encoder's network is fed to read a row of T ids: `ids` [1, T] int64; with a projection `end` [1] int64, the
 * place of the text's end; with learnt words `places` [1, T] int64, as `clipText` takes them, whose ids are 0 in `ids`.
 */
export function textFeeds(
  { config, learnt }: TextEncoder,
  ids: readonly number[],
): Readonly<Record<string, Tensor<"int64">>> {
  const { vocabSize, projectionDim, eosTokenId } = config
  const shape = [1, ids.length]
  const known = ids.map((id) => (id < vocabSize ? id : 0))
  const places = ids.map((id, place) => (id < vocabSize ? place : ids.length + id - vocabSize))
  return {
    ids: int64(shape, known),
    // transformers takes learnt words for the end in older files, whose end is the largest id; here they never are.
    ...(projectionDim !== null && { end: int64([1], [endPosition(known, eosTokenId)]) }),
    ...(learnt.length > 0 && { places: int64(shape, places) }),
  }
}

/** How many layers may be left out of a model's encoders, so that at least one is read. */
export function mostClipSkip(encoders: readonly TextEncoder[], { textStates }: Family): number {
  const fewest = Math.min(...encoders.map(({ config }) => config.numHiddenLayers))
  return fewest - (textStates === "penultimate" ? 2 : 1)
}

/** All learnt embeddings, one after the other [N, D]. */
function rowsOf(learnt: readonly LearntWord[]): Value {
  const named = learnt.map(({ vectors }, i) => [`learnt_words.${i}`, vectors] as const)
  const weights = storedWeights(new Map(named), "the learnt words")
  return concat(
    named.map(([name]) => weights.get(name)),
    0,
  )
}

function rowCount(learnt: readonly LearntWord[]): number {
  return learnt.reduce((sum, { vectors }) => sum + vectors.shape[0], 0)
}
