import { constant } from "../graph/node.ts"
import {
  add,
  attention,
  cast,
  concat,
  cos,
  expand,
  gatherRows,
  linear,
  mul,
  neg,
  reshape,
  rmsNorm,
  scale,
  shift,
  silu,
  sin,
  slice,
  sub,
  unsqueeze,
} from "../graph/ops/index.ts"
import type { Value } from "../graph/value.ts"
import type { Weights } from "../graph/weights.ts"
import { float32 } from "../ground/tensor.ts"
import type { ChatGlmConfig } from "./config/chatglm.ts"

/** Rows of text as ChatGLM's tokenizer gives them, each [B, T] int64. */
export interface ChatGlmRows {
  readonly ids: Value
  /** 1 where a token is, 0 where padding is. */
  readonly attentionMask: Value
  /** The place of each token in its text; 0 for padding. */
  readonly positionIds: Value
}

/** What every layer is told beside the state: which places see which, and how far the heads of each are turned. */
export interface ChatGlmSurroundings {
  /** Added to the attention scores [B, 1, T, T]. */
  readonly mask: Value
  /** Cosines and sines [B, T, 1, headWidth / 4, 1]. */
  readonly cosines: Value
  readonly sines: Value
}

/**
 * ChatGLM3 (Zeng et al. 2022) as a text encoder begins here: the state before the first layer.
 *   ids [B, T] int64 -> [B, T, H]
 */
export function chatGlmEmbeddings(ids: Value, w: Weights): Value {
  return gatherRows(w.at("embedding").at("word_embeddings").get("weight"), ids)
}

/**
 * The state after each of the layers `first` to before `end`, each [B, T, H], none normalised, from that before them,
 * x [B, T, H]. Padding has states too, and Kolors reads them. Weight names: diffusers `ChatGLMModel`.
 */
export function chatGlmLayers(
  x: Value,
  around: ChatGlmSurroundings,
  [first, end]: readonly [first: number, end: number],
  w: Weights,
  config: ChatGlmConfig,
): Value[] {
  const states: Value[] = []
  let h = x
  for (let n = first; n < end; n++) {
    h = layer(h, around, w.at("encoder").at("layers").at(n), config)
    states.push(h)
  }
  return states
}

/** The state at the end of each row, where a text that is padded before it ends.   [B, T, H] -> [B, H] */
export function lastPosition(state: Value): Value {
  const [b, t, width] = state.shape
  return reshape(slice(state, 1, t - 1, t), [b, width])
}

/** What all layers share, from the rows' masks and positions. */
export function chatGlmSurroundings(
  { attentionMask, positionIds }: Pick<ChatGlmRows, "attentionMask" | "positionIds">,
  { headWidth }: ChatGlmConfig,
): ChatGlmSurroundings {
  const [b, t] = positionIds.shape
  const pairs = headWidth / 4
  // In float32, as the reference computes them.
  const frequencies = Float32Array.from(
    { length: pairs },
    (_, m) => 1 / Math.fround(10000 ** Math.fround(m / pairs)),
  )
  const turns = constant(float32([1, 1, 1, pairs, 1], frequencies))
  const angles = mul(reshape(cast(positionIds, "float32"), [b, t, 1, 1, 1]), turns)
  return { mask: blockedPlaces(attentionMask), cosines: cos(angles), sines: sin(angles) }
}

/**
 * Zero where a place may look, a number that softmax makes zero where it may not. A token looks at itself and the tokens
 * before it. Padding looks everywhere, so that its states hold something of the text.
 *   attentionMask [B, T] int64 -> [B, 1, T, T]
 */
function blockedPlaces(attentionMask: Value): Value {
  const [b, t] = attentionMask.shape
  const earlier = new Float32Array(t * t)
  for (let i = 0; i < t; i++) earlier.fill(1, i * t, i * t + i + 1)
  const real = cast(attentionMask, "float32")
  const seen = mul(constant(float32([1, t, t], earlier)), reshape(real, [b, 1, t]))
  const blocked = mul(shift(neg(seen), 1), reshape(real, [b, t, 1]))
  return unsqueeze(scale(blocked, -1e9), [1])
}

/** Weight names: diffusers `GLMBlock`. */
function layer(x: Value, around: ChatGlmSurroundings, w: Weights, config: ChatGlmConfig): Value {
  const eps = config.normEps
  const attended = selfAttention(
    rmsNorm(x, w.at("input_layernorm"), { eps }),
    around,
    w.at("self_attention"),
    config,
  )
  const h = add(x, attended)
  return add(h, gatedMlp(rmsNorm(h, w.at("post_attention_layernorm"), { eps }), w.at("mlp"), config))
}

/** Weight names: diffusers `SelfAttention`, where queries, keys and values come from one layer. */
function selfAttention(x: Value, around: ChatGlmSurroundings, w: Weights, config: ChatGlmConfig): Value {
  const { numAttentionHeads: heads, groups, headWidth } = config
  const [b, t] = x.shape
  const joint = w.at("query_key_value")
  const split = [0, heads, heads + groups, heads + 2 * groups].map((row) => row * headWidth)
  const [q, k, v] = [0, 1, 2].map((i) => {
    const count = i === 0 ? heads : groups
    return reshape(linear(x, joint.rows(split[i], split[i + 1])), [b, t, count, headWidth])
  })
  /** The groups' keys or values once for each of their heads [B, T, heads headWidth]. */
  const shared = (value: Value) =>
    reshape(expand(unsqueeze(value, [3]), [b, t, groups, heads / groups, headWidth]), [
      b,
      t,
      heads * headWidth,
    ])
  const queries = reshape(turned(q, around), [b, t, heads * headWidth])
  return linear(
    attention(queries, shared(turned(k, around)), shared(v), { heads, mask: around.mask }),
    w.at("dense"),
  )
}

/**
 * Rotary position embedding (Su et al. 2021) of the first half of each head; numbers 2m and 2m + 1 are a pair.
 *   x [B, T, heads, D] -> the same
 */
function turned(x: Value, { cosines, sines }: ChatGlmSurroundings): Value {
  const [b, t, heads, width] = x.shape
  const half = width / 2
  const pairs = reshape(slice(x, 3, 0, half), [b, t, heads, half / 2, 2])
  const [even, odd] = [slice(pairs, 4, 0, 1), slice(pairs, 4, 1, 2)]
  const rotated = concat(
    [sub(mul(even, cosines), mul(odd, sines)), add(mul(odd, cosines), mul(even, sines))],
    4,
  )
  return concat([reshape(rotated, [b, t, heads, half]), slice(x, 3, half, width)], 3)
}

/** A linear layer gated by the SiLU of another, and one after them (SwiGLU, Shazeer 2020). Weight names: diffusers `MLP`. */
function gatedMlp(x: Value, w: Weights, { ffnHiddenSize: width }: ChatGlmConfig): Value {
  const joint = w.at("dense_h_to_4h")
  const gate = silu(linear(x, joint.rows(0, width)))
  return linear(mul(gate, linear(x, joint.rows(width, 2 * width))), w.at("dense_4h_to_h"))
}
