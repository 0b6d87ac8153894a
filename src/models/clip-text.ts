import { constant } from "../graph/node.ts"
import { add, concat, gatherRows, layerNorm, linear, reshape, slice } from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import { float32 } from "../ground/tensor.ts"
import type { ClipTextConfig } from "./config/clip-text.ts"
import { clipLayers } from "./layers/clip-layers.ts"

/** What CLIP makes of a text. */
export interface ClipText {
  /** The embeddings, then the output of every layer, each [B, T, D], none normalised. */
  readonly hiddenStates: readonly Value[]
  /** The last of them after the final normalisation [B, T, D]. */
  readonly lastHiddenState: Value
}

/** Words beside the vocabulary's, and where texts use them (textual inversion, Gal et al. 2022). */
export interface LearntRows {
  /** An embedding of each [N, D]. */
  readonly rows: Value
  /** What stands at each place of the texts, [B, T] int64: B T + n for learnt row n, b T + t for the word of its id. */
  readonly places: Value
}

/**
 * CLIP's text transformer (Radford et al. 2021).   ids [B, T] int64
 * Weight names: transformers `CLIPTextModel`, under `text_model`.
 */
export function clipText(
  ids: Value,
  weights: Weights,
  config: ClipTextConfig,
  learnt?: LearntRows,
): ClipText {
  const w = weights.at("text_model")
  const length = ids.shape[1]
  const embeddings = w.at("embeddings")
  const positions = slice(embeddings.at("position_embedding").get("weight"), 0, 0, length)
  const known = gatherRows(embeddings.at("token_embedding").get("weight"), ids)
  const h = add(learnt ? withLearnt(known, learnt) : known, positions)
  const hiddenStates = clipLayers(h, w.at("encoder"), { ...config, mask: causalMask(length) })
  return { hiddenStates, lastHiddenState: normalisedState(hiddenStates.at(-1)!, weights, config) }
}

/** Learnt rows at their places among those of known words [B, T, D]. The vocabulary's table is not copied. */
function withLearnt(known: Value, { rows, places }: LearntRows): Value {
  const [b, t, d] = known.shape
  return gatherRows(concat([reshape(known, [b * t, d]), rows], 0), places)
}

/** Any of the hidden states after the final normalisation, as a model reads CLIP that skips its last layers. */
export function normalisedState(state: Value, weights: Weights, config: ClipTextConfig): Value {
  return layerNorm(state, weights.at("text_model").at("final_layer_norm"), { eps: config.layerNormEps })
}

/**
 * The hidden state at each text's end token, projected where the model has a projection.
 *   lastHiddenState [B, T, D]   rows [B] int64, b T + place of the end token in text b   ->   [B, D] or [B, P]
 */
export function pooledText(lastHiddenState: Value, rows: Value, weights: Weights): Value {
  const [b, t, d] = lastHiddenState.shape
  const pooled = gatherRows(reshape(lastHiddenState, [b * t, d]), rows)
  return weights.has("text_projection") ? linear(pooled, weights.at("text_projection")) : pooled
}

/**
 * Where a text is pooled: its first end token. Files that say 2 for it come from before transformers knew
 * CLIP's own, and pool at the largest id instead.
 */
export function endPosition(ids: ArrayLike<number>, eosTokenId: number): number {
  const list = Array.from(ids)
  const place = eosTokenId === 2 ? list.indexOf(Math.max(...list)) : list.indexOf(eosTokenId)
  return Math.max(0, place)
}

/** Zero where a place may look, a number that softmax makes zero where it may not: [1, 1, T, T]. */
function causalMask(length: number): Value {
  const mask = new Float32Array(length * length)
  for (let i = 0; i < length; i++) mask.fill(-1e9, i * length + i + 1, (i + 1) * length)
  return constant(float32([1, 1, length, length], mask))
}
