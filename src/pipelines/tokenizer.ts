import { absolutePath, exists, readBytes, readText } from "#platform"
import { LimnError } from "../ground/errors.ts"
import { type ChatGlmTokenizer, chatGlmTokenizerFrom } from "../tokenizers/chatglm.ts"
import { clipTokenizer, type Tokenizer } from "../tokenizers/clip-bpe.ts"
import { vocabFromMerges } from "../tokenizers/clip-files.ts"
import { readJson } from "./files.ts"

/**
 * Opens a checkpoint's tokenizer folder: vocab.json, merges.txt, and the two optional files that name its special
 * tokens. Throws a LimnError where a file is missing, a FormatError where one is broken.
 */
export async function openTokenizer(folder: string): Promise<Tokenizer> {
  return clipTokenizer({
    vocab: await readJson(absolutePath(folder, "vocab.json")),
    merges: await readText(absolutePath(folder, "merges.txt")),
    config: await readOptionalJson(folder, "tokenizer_config.json"),
    specialTokens: await readOptionalJson(folder, "special_tokens_map.json"),
  })
}

/**
 * Opens ChatGLM3's tokenizer in a Kolors model: tokenizer.model and, where it is there, tokenizer_config.json, in the
 * folder `tokenizer` (Kolors-diffusers) or beside the weights in `text_encoder` (the original Kolors). Throws a LimnError
 * where neither holds one, a FormatError where a file is broken.
 */
export async function openChatGlmTokenizer(model: string): Promise<ChatGlmTokenizer> {
  for (const part of ["tokenizer", "text_encoder"]) {
    const folder = absolutePath(model, part)
    const path = absolutePath(folder, "tokenizer.model")
    if (!(await exists(path))) continue
    return chatGlmTokenizerFrom({
      model: await readBytes(path),
      config: await readOptionalJson(folder, "tokenizer_config.json"),
    })
  }
  throw new LimnError(
    `${model} has no tokenizer.model in tokenizer or text_encoder; fetch the whole Kolors model, its tokenizer too.`,
  )
}

async function readOptionalJson(folder: string, name: string): Promise<unknown> {
  const path = absolutePath(folder, name)
  return (await exists(path)) ? readJson(path) : undefined
}

const END = "<|endoftext|>"

/** How CLIP's special tokens are looked for in a prompt. */
const mark = (content: string) => ({ content, normalized: true })

/** By what they pad with. Kept, because reading one takes a fifth of a second and gives the same each time. */
const bundled = new Map<string, Tokenizer>()

/**
 * CLIP's tokenizer, which comes with limn, for checkpoints in one file, which hold none.
 *   pad   the token that fills rows: the end itself, or "!" for SDXL's second text encoder
 */
export async function bundledTokenizer({ pad = END } = {}): Promise<Tokenizer> {
  const kept = bundled.get(pad)
  if (kept !== undefined) return kept
  const merges = await readText(new URL("../../models/clip-tokenizer/merges.txt", import.meta.url))
  const specialTokens = {
    bos_token: mark("<|startoftext|>"),
    eos_token: mark(END),
    unk_token: mark(END),
    pad_token: pad,
  }
  const tokenizer = clipTokenizer({ vocab: vocabFromMerges(merges), merges, specialTokens })
  bundled.set(pad, tokenizer)
  return tokenizer
}
