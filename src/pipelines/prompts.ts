import type { Tensor } from "../ground/tensor.ts"
import { int64 } from "../ground/tensor.ts"
import type { Model } from "./model.ts"
import type { OpenNetwork } from "./network.ts"

/** Encoded prompts that a model keeps; each of Stable Diffusion's takes 230 KB. */
const KEPT_ENCODINGS = 256

/** The text encoder's graph, loaded ahead of its use, until released. */
export function openTextEncoder(model: Model): Promise<OpenNetwork> {
  return model.textEncoder.open({ ids: { dtype: "int64", shape: [1, model.tokenizer.maxLength] } })
}

/**
 * A text as the denoiser reads it [1, T, D], its last `clipSkip` layers left out; padding is read too, as the
 * published models were trained. Texts are encoded one by one and remembered.
 */
export function encodePrompt(model: Model, text: string, clipSkip = 0): Promise<Tensor<"float32">> {
  const { encodings } = model
  const key = `${clipSkip} ${text}`
  const known = encodings.get(key)
  const encoding = known ?? runEncoder(model, text, clipSkip)
  // Put back at the end: the first is then the one unused for the longest.
  encodings.delete(key)
  encodings.set(key, encoding)
  if (known === undefined) encoding.catch(() => encodings.delete(key))
  const [oldest] = encodings.keys()
  if (encodings.size > KEPT_ENCODINGS) encodings.delete(oldest)
  return encoding
}

/** A sentence for each text of which the model reads only the beginning. */
export function promptWarnings({ tokenizer }: Model, texts: readonly string[]): string[] {
  return [...new Set(texts)].flatMap((text) => {
    const { dropped } = tokenizer.tokenize(text)
    if (dropped === "") return []
    return `The model reads ${tokenizer.maxLength - 2} tokens of a prompt; this was left out: ${JSON.stringify(dropped)}.`
  })
}

async function runEncoder(model: Model, text: string, clipSkip: number): Promise<Tensor<"float32">> {
  const { ids } = model.tokenizer.tokenize(text)
  const output = `state.${clipSkip}`
  const states = await model.textEncoder.run({ ids: int64([1, ids.length], ids) }, [output])
  return states[output] as Tensor<"float32">
}
