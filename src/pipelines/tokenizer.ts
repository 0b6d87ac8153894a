import { absolutePath, exists, readBytes, readText } from "#platform"
import { LimnError } from "../ground/errors.ts"
import type { ChatGlmTokenizer } from "../tokenizers/chatglm.ts"
import { chatGlmTokenizer } from "../tokenizers/chatglm.ts"
import { clipTokenizer, type Tokenizer } from "../tokenizers/clip-bpe.ts"
import { vocabFromMerges } from "../tokenizers/clip-files.ts"
import { readJson } from "./files.ts"

/**
 * Opens a checkpoint's tokenizer folder: vocab.json, merges.txt, and the two optional files that name its special
 * tokens. Throws a LimnError where a file is missing, a FormatError where one is broken.
 */
export async function openTokenizer(folder: string): Promise<Tokenizer> {
  const optional = async (name: string) => {
    const path = absolutePath(folder, name)
    return (await exists(path)) ? readJson(path) : undefined
  }
  return clipTokenizer({
    vocab: await readJson(absolutePath(folder, "vocab.json")),
    merges: await readText(absolutePath(folder, "merges.txt")),
    config: await optional("tokenizer_config.json"),
    specialTokens: await optional("special_tokens_map.json"),
  })
}

/**
 * ChatGLM's tokenizer, a SentencePiece model, from the first of some folders that holds its file: its own, or that of the
 * text encoder, where Kolors' first publishers put it.
 * Throws a LimnError where none does, a FormatError where the file is broken.
 */
export async function openChatGlmTokenizer(folders: readonly string[]): Promise<ChatGlmTokenizer> {
  for (const folder of folders) {
    const path = absolutePath(folder, "tokenizer.model")
    if (await exists(path)) return chatGlmTokenizer(await readBytes(path), path)
  }
  throw new LimnError(`There is no tokenizer.model in ${folders.join(" or in ")}; fetch it too.`)
}

const END = "<|endoftext|>"

/** How CLIP's special tokens are looked for in a prompt. */
const mark = (content: string) => ({ content, normalized: true })

/**
 * CLIP's tokenizer, which comes with limn, for checkpoints in one file, which hold none.
 *   pad   the token that fills rows: the end itself, or "!" for SDXL's second text encoder
 */
export async function bundledTokenizer({ pad = END } = {}): Promise<Tokenizer> {
  const merges = await readText(new URL("../../models/clip-tokenizer/merges.txt", import.meta.url))
  const specialTokens = {
    bos_token: mark("<|startoftext|>"),
    eos_token: mark(END),
    unk_token: mark(END),
    pad_token: pad,
  }
  return clipTokenizer({ vocab: vocabFromMerges(merges), merges, specialTokens })
}
