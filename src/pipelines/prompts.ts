import type { Tensor } from "../ground/tensor.ts"
import { float32, int64 } from "../ground/tensor.ts"
import { endPosition } from "../models/clip-text.ts"
import type { Conditioning, Model } from "./model.ts"
import type { OpenNetwork } from "./network.ts"
import type { TextEncoder } from "./text-encoder.ts"

/** Encoded prompts that a model keeps; each of Stable Diffusion's takes 230 KB, each of SDXL's 630 KB. */
const KEPT_ENCODINGS = 256

/** The text encoders' graphs, loaded ahead of their use, until released. */
export async function openTextEncoders(model: Model): Promise<Pick<OpenNetwork, "release">> {
  const opening = model.textEncoders.map(({ network, tokenizer, config }) =>
    network.open({
      ids: { dtype: "int64", shape: [1, tokenizer.maxLength] },
      ...(config.projectionDim !== null && { end: { dtype: "int64", shape: [1] } }),
    }),
  )
  const opened = await Promise.allSettled(opening)
  const release = () => {
    for (const one of opened) if (one.status === "fulfilled") one.value.release()
  }
  const failed = opened.find((one) => one.status === "rejected")
  if (failed === undefined) return { release }
  release()
  throw failed.reason
}

/**
 * A text as the denoiser reads it, one row: `encoderHiddenStates` [1, T, D], with `clipSkip` of the last layers left
 * out, and for SDXL `textEmbeds` [1, P]. Padding is read too, as the published models were trained. Texts are encoded
 * one by one and remembered.
 */
export function encodePrompt(model: Model, text: string, clipSkip = 0): Promise<Conditioning> {
  const { encodings } = model
  const key = `${clipSkip} ${text}`
  const known = encodings.get(key)
  const encoding = known ?? runEncoders(model, text, clipSkip)
  // Put back at the end: the first is then the one unused for the longest.
  encodings.delete(key)
  encodings.set(key, encoding)
  if (known === undefined) encoding.catch(() => encodings.delete(key))
  const [oldest] = encodings.keys()
  if (encodings.size > KEPT_ENCODINGS) encodings.delete(oldest)
  return encoding
}

/** A negative prompt as the denoiser reads it; for a model that was trained so, none at all is zeros. */
export async function encodeNegative(model: Model, text: string, clipSkip = 0): Promise<Conditioning> {
  const encoded = await encodePrompt(model, text, clipSkip)
  if (text !== "" || !model.zeroNegative) return encoded
  const zeros = Object.entries(encoded).map(([name, { shape, data }]) => [
    name,
    float32(shape, new Float32Array(data.length)),
  ])
  return Object.fromEntries(zeros)
}

/** A sentence for each text of which the model reads only the beginning. */
export function promptWarnings({ textEncoders }: Model, texts: readonly string[]): string[] {
  // All tokenizers of a model cut texts at the same place.
  const [{ tokenizer }] = textEncoders
  return [...new Set(texts)].flatMap((text) => {
    const { dropped } = tokenizer.tokenize(text)
    if (dropped === "") return []
    return `The model reads ${tokenizer.maxLength - 2} tokens of a prompt; this was left out: ${JSON.stringify(dropped)}.`
  })
}

async function runEncoders(model: Model, text: string, clipSkip: number): Promise<Conditioning> {
  const states: Tensor<"float32">[] = []
  let textEmbeds: Tensor<"float32"> | undefined
  for (const encoder of model.textEncoders) {
    const { state, pooled } = await runEncoder(encoder, text, clipSkip)
    states.push(state)
    textEmbeds = pooled
  }
  return { encoderHiddenStates: joinFeatures(states), ...(textEmbeds && { textEmbeds }) }
}

async function runEncoder({ tokenizer, config, network }: TextEncoder, text: string, clipSkip: number) {
  const { ids } = tokenizer.tokenize(text)
  const pools = config.projectionDim !== null
  const feeds = {
    ids: int64([1, ids.length], ids),
    ...(pools && { end: int64([1], [endPosition(ids, config.eosTokenId)]) }),
  }
  const wanted = `state.${clipSkip}`
  const results = await network.run(feeds, pools ? [wanted, "pooled"] : [wanted])
  return {
    state: results[wanted] as Tensor<"float32">,
    pooled: results.pooled as Tensor<"float32"> | undefined,
  }
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
