import { concat } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { StoredWeight } from "../graph/weights.ts"
import { storedWeights } from "../graph/weights.ts"
import { int64 } from "../ground/tensor.ts"
import { clipText, endPosition, normalisedState, pooledText } from "../models/clip-text.ts"
import type { ClipTextConfig } from "../models/config/clip-text.ts"
import { clipTextConfig } from "../models/config/clip-text.ts"
import { clipTextParameters } from "../models/parameters/clip-text.ts"
import type { Tokenizer } from "../tokenizers/clip-bpe.ts"
import type { Component } from "./component.ts"
import { checkAllRead, componentWeights, configPath } from "./component.ts"
import type { EncoderBase, TextFeeds } from "./encoder-base.ts"
import type { Family } from "./family.ts"
import type { NetworkOptions } from "./network.ts"
import { network } from "./network.ts"
import { promptChunks } from "./prompt-chunks.ts"

/** A word that an encoder did not know when it was trained. */
export interface LearntWord {
  readonly word: string
  /** Its embeddings [N, D]: it stands for N tokens. */
  readonly vectors: StoredWeight
}

/** A CLIP, and the tokenizer before it. */
export interface ClipEncoder extends EncoderBase {
  readonly kind: "clip"
  readonly tokenizer: Tokenizer
  readonly config: ClipTextConfig
  /** The words beside its vocabulary, whose ids follow those of the vocabulary in this order. */
  readonly learnt: readonly LearntWord[]
  /** The same encoder over the same weights with one more word; UsageError where the tokenizer refuses that. */
  extend(word: LearntWord): ClipEncoder
}

/** What a CLIP is read from. */
export interface ClipParts {
  readonly kind: "clip"
  readonly files: Component
  readonly tokenizer: Tokenizer
}

/** An encoder whose states are read as the family does. Nothing is loaded yet. */
export function clipEncoder(
  { files, tokenizer }: Pick<ClipParts, "files" | "tokenizer">,
  family: Pick<Family, "textStates">,
  running: NetworkOptions,
): ClipEncoder {
  const config = clipTextConfig(files.config, configPath(files))
  const parameters = clipTextParameters(config)
  const weights = componentWeights(files, parameters)
  return knowing(tokenizer, [])

  function knowing(tokenizer: Tokenizer, learnt: readonly LearntWord[]): ClipEncoder {
    const penultimate = family.textStates === "penultimate"
    const describe = ({ ids, end, places }: Readonly<Record<string, Value>>) => {
      const w = weights()
      const rows = learnt.length > 0 ? { rows: rowsOf(learnt), places } : undefined
      const { hiddenStates, lastHiddenState } = clipText(ids, w, config, rows)
      const states = hiddenStates.toReversed()
      const read = penultimate ? states.slice(1) : states.map((state) => normalisedState(state, w, config))
      const outputs = read.map((state, skip): [string, Value] => [`state.${skip}`, state])
      if (config.projectionDim !== null) outputs.push(["pooled", pooledText(lastHiddenState, end, w)])
      checkAllRead(w)
      return Object.fromEntries(outputs)
    }
    return {
      kind: "clip",
      tokenizer,
      config,
      learnt,
      parameters,
      hiddenSize: config.hiddenSize,
      pooledSize: config.projectionDim,
      vocabSize: config.vocabSize,
      mostTokens: config.maxPositionEmbeddings,
      mostSkip: config.numHiddenLayers - (penultimate ? 2 : 1),
      network: network(describe, running),
      rows: (sections) =>
        promptChunks(tokenizer, sections).map(({ ids, weights }) => ({
          feeds: clipFeeds({ config, learnt }, ids),
          weights,
        })),
      dropped: () => "",
      extend(word) {
        const [count] = word.vectors.shape
        const extended = tokenizer.extend(word.word, config.vocabSize + rowCount(learnt), count)
        return knowing(extended, [...learnt, word])
      },
    }
  }
}

/**
 * What an encoder's network is fed to read a row of T ids: `ids` [1, T] int64; with a projection `end` [1] int64, the
 * place of the text's end; with learnt words `places` [1, T] int64, as `clipText` takes them, whose ids are 0 in `ids`.
 */
function clipFeeds(
  { config, learnt }: Pick<ClipEncoder, "config" | "learnt">,
  ids: readonly number[],
): TextFeeds {
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
