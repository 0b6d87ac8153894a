import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import type { EncoderBase, TextRow } from "./encoder-base.ts"
import type { Conditioning, Model } from "./model.ts"
import type { OpenNetwork } from "./network.ts"
import type { PromptSyntax } from "./prompt-syntax.ts"
import { promptSections } from "./prompt-syntax.ts"
import { readsWeights } from "./text-encoder.ts"

/** What the encoded prompts take together that a model keeps, were each of one row: 425 of SDXL's, 64 of Kolors'. */
const KEPT_BYTES = 2 ** 28

/** How a text is read. */
export interface ReadingOptions {
  /** How many of the text encoders' last layers to leave out; default 0. */
  readonly clipSkip?: number
  /** Whether brackets weigh words; default "plain": they do not. */
  readonly promptSyntax?: PromptSyntax
  /** Chunks to fill up to with empty ones, since texts that are drawn together must be equally long; default 1. */
  readonly chunks?: number
}

/** The text encoders' graphs, loaded ahead of their use, until released. */
export async function openTextEncoders(model: Model): Promise<Pick<OpenNetwork, "release">> {
  const opening = model.textEncoders.map((encoder) => encoder.network.open(emptyRow(encoder).feeds))
  const opened = await Promise.allSettled(opening)
  const release = () => {
    for (const one of opened) if (one.status === "fulfilled") one.value.release()
  }
  const failed = opened.find((one) => one.status === "rejected")
  if (failed === undefined) return { release }
  release()
  throw failed.reason
}

/** How many chunks the longest of some texts takes. */
export function chunkCount(
  { textEncoders }: Model,
  texts: readonly string[],
  promptSyntax: PromptSyntax,
): number {
  const counts = texts.flatMap((text) => {
    const sections = promptSections(text, promptSyntax)
    return textEncoders.map((encoder) => encoder.rows(sections).length)
  })
  return Math.max(...counts)
}

/**
 * A text as the denoiser reads it, one row: `encoderHiddenStates` [1, N T, D], and for SDXL and Kolors `textEmbeds` [1, P]. Text
 * encoders read T tokens, so that a longer text is cut into N chunks, which are encoded apart and joined, as web tools
 * do; `textEmbeds` are the first chunk's. Padding is read too, as the published models were trained. Texts are encoded
 * one by one and remembered.
 */
export async function encodePrompt(
  model: Model,
  text: string,
  { clipSkip = 0, promptSyntax = "plain", chunks = 1 }: ReadingOptions = {},
): Promise<Conditioning> {
  const own = await encodeOnce(model, text, clipSkip, promptSyntax)
  const missing = chunks - own.encoderHiddenStates.shape[1] / model.textEncoders[0].tokenizer.maxLength
  if (missing <= 0) return own
  const empty = await encodeOnce(model, "", clipSkip, "plain")
  const states = [own, ...new Array<Conditioning>(missing).fill(empty)]
  return {
    ...own,
    encoderHiddenStates: joinSequences(states.map(({ encoderHiddenStates }) => encoderHiddenStates)),
  }
}

/** A negative prompt as the denoiser reads it; for a model that was trained so, none at all is zeros. */
export async function encodeNegative(
  model: Model,
  text: string,
  options: ReadingOptions = {},
): Promise<Conditioning> {
  const encoded = await encodePrompt(model, text, options)
  if (text !== "" || !model.zeroNegative) return encoded
  const zeros = Object.entries(encoded).map(([name, { shape, data }]) => [
    name,
    float32(shape, new Float32Array(data.length)),
  ])
  return Object.fromEntries(zeros)
}

/** Sentences about texts that do not fit, and about one that is read as it stands and seems to be meant otherwise. */
export function promptWarnings(
  { textEncoders }: Pick<Model, "textEncoders">,
  texts: readonly string[],
  promptSyntax: PromptSyntax,
): string[] {
  const cut = textEncoders.flatMap((encoder) =>
    texts.flatMap((text) => {
      const dropped = encoder.dropped(text)
      if (dropped === "") return []
      return `The prompt is longer than the ${encoder.tokenizer.maxLength} tokens that the model reads; its end was left out: ${JSON.stringify(dropped)}.`
    }),
  )
  const remedy = readsWeights(textEncoders)
    ? 'promptSyntax "weighted" would heed them'
    : "this model's text encoder knows none"
  return [...new Set(cut), ...weightWarnings(texts, promptSyntax, remedy)]
}

function weightWarnings(texts: readonly string[], promptSyntax: PromptSyntax, remedy: string): string[] {
  const weighted = texts.find((text) => /\([^()]+:\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)\s*\)/.test(text))
  if (promptSyntax === "weighted" || weighted === undefined) return []
  return [`Weights are read as text in ${JSON.stringify(weighted)}; ${remedy}.`]
}

function encodeOnce(
  model: Model,
  text: string,
  clipSkip: number,
  promptSyntax: PromptSyntax,
): Promise<Conditioning> {
  const { encodings } = model
  const key = `${clipSkip} ${promptSyntax} ${text}`
  const known = encodings.get(key)
  const encoding = known ?? runEncoders(model, text, clipSkip, promptSyntax)
  // Put back at the end: the first is then the one unused for the longest.
  encodings.delete(key)
  encodings.set(key, encoding)
  if (known === undefined) encoding.catch(() => encodings.delete(key))
  const [oldest] = encodings.keys()
  const bytes = model.textEncoders.reduce((sum, one) => sum + one.hiddenSize * one.tokenizer.maxLength * 4, 0)
  if (encodings.size > KEPT_BYTES / bytes) encodings.delete(oldest)
  return encoding
}

async function runEncoders(
  model: Model,
  text: string,
  clipSkip: number,
  promptSyntax: PromptSyntax,
): Promise<Conditioning> {
  const sections = promptSections(text, promptSyntax)
  const states: Tensor<"float32">[] = []
  let textEmbeds: Tensor<"float32"> | undefined
  const count = chunkCount(model, [text], promptSyntax)
  for (const encoder of model.textEncoders) {
    const rows = [...encoder.rows(sections)]
    // Tokenizers of one model may cut a text into more or fewer.
    while (rows.length < count) rows.push(emptyRow(encoder))
    const encoded = []
    for (const row of rows) encoded.push(await runEncoder(encoder, row, clipSkip))
    states.push(joinSequences(encoded.map(({ state }) => state)))
    textEmbeds = encoded[0].pooled
  }
  return { encoderHiddenStates: joinFeatures(states), ...(textEmbeds && { textEmbeds }) }
}

/** The row of an empty prompt, with which others are filled up to the same length. */
function emptyRow(encoder: EncoderBase): TextRow {
  return encoder.rows(promptSections("", "plain"))[0]
}

async function runEncoder(encoder: EncoderBase, { feeds, weights }: TextRow, clipSkip: number) {
  const wanted = `state.${clipSkip}`
  const outputs = encoder.pooledSize === null ? [wanted] : [wanted, "pooled"]
  const results = await encoder.network.run(feeds, outputs)
  return {
    state: emphasise(results[wanted] as Tensor<"float32">, weights),
    pooled: results.pooled as Tensor<"float32"> | undefined,
  }
}

/**
 * The states z of a chunk times the weights w of its tokens, and then times what brings back their mean: AUTOMATIC1111's
 * "original" emphasis.
 *   z'[t] = w[t] z[t] mean(z) / mean(w z)   state [1, T, D], T weights -> [1, T, D]
 */
export function emphasise(state: Tensor<"float32">, weights: readonly number[]): Tensor<"float32"> {
  if (weights.every((weight) => weight === 1)) return state
  const { shape, data } = state
  const weighed = data.map((value, i) => value * weights[Math.floor(i / shape[2])])
  const ratio = sumOf(data) / sumOf(weighed)
  return float32(shape, Number.isFinite(ratio) ? weighed.map((value) => value * ratio) : weighed)
}

function sumOf(values: Float32Array): number {
  let sum = 0
  for (const value of values) sum += value
  return sum
}

/** Sequences [1, T1, D], [1, T2, D], ... one after the other: [1, T1 + T2 + ..., D]. */
function joinSequences(states: readonly Tensor<"float32">[]): Tensor<"float32"> {
  if (states.length === 1) return states[0]
  const [, , width] = states[0].shape
  const length = states.reduce((sum, { shape }) => sum + shape[1], 0)
  const joined = new Float32Array(length * width)
  let at = 0
  for (const { data } of states) {
    joined.set(data, at)
    at += data.length
  }
  return float32([1, length, width], joined)
}

/** Sequences [1, T, D1], [1, T, D2], ... side by side: [1, T, D1 + D2 + ...]. */
function joinFeatures(states: readonly Tensor<"float32">[]): Tensor<"float32"> {
  if (states.length === 1) return states[0]
  const [, length] = states[0].shape
  const width = states.reduce((sum, { shape }) => sum + shape[2], 0)
  const joined = new Float32Array(length * width)
  for (let t = 0, at = 0; t < length; t++)
    for (const { shape, data } of states) {
      const [, , d] = shape
      joined.set(data.subarray(t * d, (t + 1) * d), at)
      at += d
    }
  return float32([1, length, width], joined)
}
