import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import { clipText, normalisedState, pooledText } from "../models/clip-text.ts"
import type { ClipTextConfig } from "../models/config/clip-text.ts"
import type { Tokenizer } from "../tokenizers/clip-bpe.ts"
import { checkAllRead } from "./component.ts"
import type { Family } from "./family.ts"
import { type Network, type NetworkOptions, network } from "./network.ts"

/** One of a model's text encoders, and the tokenizer before it. */
export interface TextEncoder {
  readonly tokenizer: Tokenizer
  readonly config: ClipTextConfig
  /**
   * `ids` [1, T] int64 -> `state.0` ... [1, T, D]: the state that the denoiser reads, and with so many more of the last
   * layers left out. An encoder with a projection also takes `end` [1] int64, the place of the text's end, and gives
   * `pooled` [1, P].
   */
  readonly network: Network
}

/** An encoder whose states are read as the family does. Nothing is loaded yet. */
export function textEncoder(
  weights: () => Weights,
  config: ClipTextConfig,
  tokenizer: Tokenizer,
  family: Family,
  running: NetworkOptions,
): TextEncoder {
  return {
    tokenizer,
    config,
    network: network(({ ids, end }) => {
      const w = weights()
      const { hiddenStates, lastHiddenState } = clipText(ids, w, config)
      const states = hiddenStates.toReversed()
      const read =
        family.textStates === "penultimate"
          ? states.slice(1)
          : states.map((state) => normalisedState(state, w, config))
      const outputs = read.map((state, skip): [string, Value] => [`state.${skip}`, state])
      if (config.projectionDim !== null) outputs.push(["pooled", pooledText(lastHiddenState, end, w)])
      checkAllRead(w)
      return Object.fromEntries(outputs)
    }, running),
  }
}

/** How many layers may be left out of a model's encoders, so that at least one is read. */
export function mostClipSkip(encoders: readonly TextEncoder[], { textStates }: Family): number {
  const fewest = Math.min(...encoders.map(({ config }) => config.numHiddenLayers))
  return fewest - (textStates === "penultimate" ? 2 : 1)
}
