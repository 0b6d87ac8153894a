import { absolutePath, exists, readText } from "#platform"
import { clipTokenizer, type Tokenizer } from "../tokenizers/clip-bpe.ts"
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
