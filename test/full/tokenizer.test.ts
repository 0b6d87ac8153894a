import { createReadStream, existsSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { createInterface } from "node:readline"
import { describe, expect, test } from "vitest"
import { chatGlmTokenizerFrom } from "../../src/tokenizers/chatglm.ts"
import { sentencePiece } from "../../src/tokenizers/sentencepiece-bpe.ts"
import { readSentencePieceModel } from "../../src/tokenizers/sentencepiece-model.ts"
import { goldenFolder } from "../unit/golden.ts"

/** Made by `python reference/full_tokenizer.py FOLDER`: [text, ids by the published model, ids by symbols.model]. */
const texts = join(process.env.LIMN_FULL_DIR ?? "", "chatglm-texts.jsonl")
const published = join(import.meta.dirname, "../../../shared/data/tokenizers/chatglm3/tokenizer.model")
const present = existsSync(texts) && existsSync(published)
if (!present)
  console.log("Skipped: set LIMN_FULL_DIR to a folder that reference/full_tokenizer.py has filled.")

describe.skipIf(!present)("ChatGLM's tokenizer", () => {
  test("agrees with diffusers and SentencePiece on every text", async () => {
    const chatGlm = chatGlmTokenizerFrom({ model: readFileSync(published) })
    const symbols = sentencePiece(
      readSentencePieceModel(readFileSync(join(goldenFolder, "chatglm-tokenizer/symbols.model"))),
    )
    const wrong: string[] = []
    let count = 0
    for await (const line of createInterface(createReadStream(texts, "utf8"))) {
      const [text, ids, symbolIds] = JSON.parse(line) as [string, number[], number[]]
      const same =
        String(chatGlm.encode(text)) === String(ids) && String(symbols.encode(text)) === String(symbolIds)
      if (!same) wrong.push(text)
      count++
    }
    console.log(`${count} texts, ${wrong.length} of them read otherwise.`)
    expect(count).toBeGreaterThan(0)
    expect(wrong.slice(0, 20)).toEqual([])
  })
})
