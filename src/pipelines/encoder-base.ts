import type { Tensor } from "../ground/tensor.ts"
import type { ParameterSpec } from "../models/parameters/module.ts"
import type { Network } from "./network.ts"
import type { PromptPart } from "./prompt-syntax.ts"

/** What a text encoder's network is fed to read one row of T tokens; each [1, T] or [1]. */
export type TextFeeds = Readonly<Record<string, Tensor<"int64">>>

/** One row of a text encoder's input, and the weight of each of its T places. */
export interface TextRow {
  readonly feeds: TextFeeds
  /** 1 for marks and padding. */
  readonly weights: readonly number[]
}

/** What pipelines ask of a text encoder, whatever model it is. */
export interface EncoderBase {
  readonly tokenizer: {
    /** Tokens in a row, T. */
    readonly maxLength: number
    /** The highest id that it gives + 1. */
    readonly vocabSize: number
  }
  /** All of its tensors. */
  readonly parameters: readonly ParameterSpec[]
  /** Width of its states, D. */
  readonly hiddenSize: number
  /** Width of its pooled text, P, or null where it pools none. */
  readonly pooledSize: number | null
  /** Tokens that it knows, and how many of them in a row. */
  readonly vocabSize: number
  readonly mostTokens: number
  /** How many of its last layers can be left out. */
  readonly mostSkip: number
  /**
   * What it makes of a row -> `state.0` ... `state.<mostSkip>` [1, T, D]: the state that the denoiser reads, and with so
   * many more of the last layers left out; and where it pools `pooled` [1, P].
   */
  readonly network: Network
  /** A prompt's sections as rows, at least one. */
  rows(sections: readonly (readonly PromptPart[])[]): readonly TextRow[]
  /** The end of a text for which there is no room, "" where all of it is read. */
  dropped(text: string): string
}
