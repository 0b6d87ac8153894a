import { mkdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { learnClipBpe } from "../src/tokenizers/learn-bpe.ts"
import { writeTextFile } from "./files.ts"

// npx tsx --conditions=source inkling/make-vocabulary.ts [--data cache/inkling/train] [--out models/inkling/tokenizer]
// Learns Inkling's vocabulary from the captions of a dataset: 4096 tokens, those of its text encoder's table.

const vocabSize = 4096

const { values } = parseArgs({
  options: {
    data: { type: "string", default: "cache/inkling/train" },
    out: { type: "string", default: "models/inkling/tokenizer" },
  },
})
const lines = readFileSync(join(values.data, "captions.jsonl"), "utf8").trimEnd().split("\n")
const captions = lines.flatMap((line) => (JSON.parse(line) as { captions: string[] }).captions)
const { vocab, merges } = learnClipBpe(captions, { vocabSize })
mkdirSync(values.out, { recursive: true })
writeTextFile(join(values.out, "vocab.json"), `${JSON.stringify(vocab)}\n`)
writeTextFile(join(values.out, "merges.txt"), merges)
process.stdout.write(`${Object.keys(vocab).length} tokens from ${captions.length} captions\n`)
