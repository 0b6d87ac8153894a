import { readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { FormatError, UsageError } from "../../src/ground/errors.ts"
import { clipTokenizer } from "../../src/tokenizers/clip-bpe.ts"
import { vocabFromMerges } from "../../src/tokenizers/clip-files.ts"
import { normaliseText, splitWords } from "../../src/tokenizers/clip-words.ts"
import { dice } from "./dice.ts"

function textFile(url: URL): string {
  return readFileSync(url, "utf8")
}

function jsonFile(url: URL): unknown {
  return JSON.parse(textFile(url))
}

const golden = new URL("../golden/", import.meta.url)
const learned = {
  vocab: jsonFile(new URL("clip-tokenizer-learned/vocab.json", golden)),
  merges: textFile(new URL("clip-tokenizer-learned/merges.txt", golden)),
}

/** A folder's settings, and text, ids, row of 16 and decoded ids for each text. */
interface Group {
  readonly config: unknown
  readonly specialTokens: unknown
  readonly rows: readonly (readonly [string, number[], number[], string])[]
}
const groups = jsonFile(new URL("clip-tokenizer-learned/cases.json", golden)) as readonly Group[]
const settings = ["no settings", "Stable Diffusion 1", "SDXL, second", "SDXL, second, older", "added tokens"]

describe.each(groups.map((group, index) => ({ name: settings[index], ...group })))(
  "ids of transformers over a learned vocabulary: $name",
  ({ config, specialTokens, rows }) => {
    const tokenizer = clipTokenizer({
      ...learned,
      config: config ?? undefined,
      specialTokens: specialTokens ?? undefined,
    })

    it("encodes", () => {
      for (const [text, ids] of rows) expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids)
    })

    it("cuts and pads", () => {
      for (const [text, ids, row] of rows) {
        const result = tokenizer.tokenize(text)
        expect(result.ids, JSON.stringify(text)).toEqual(row)
        expect(result.length).toBe(Math.min(ids.length, 14) + 2)
        expect(result.dropped).toBe(tokenizer.decode(ids.slice(14)))
      }
    })

    it("decodes", () => {
      for (const [text, ids, , decoded] of rows)
        expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded)
    })
  },
)

/** OpenAI's, which come with limn. */
const publishedMerges = textFile(new URL("../../models/clip-tokenizer/merges.txt", import.meta.url))

// What a letter is depends on the Unicode version: 16 in the reference, the engine's own here. These became letters with
// 17, and to an engine before 16 some of 16's are not assigned at all.
const newLetters =
  "\\u{88f}\\u{c5c}\\u{cdc}\\u{a7ce}-\\u{a7cf}\\u{a7f1}\\u{10940}-\\u{10959}\\u{10ec5}-\\u{10ec7}\\u{11db0}-\\u{11ddb}\\u{16ea0}-\\u{16eb8}\\u{16ebb}-\\u{16ed3}\\u{16ff2}-\\u{16ff3}\\u{187f8}-\\u{187ff}" +
  "\\u{18d09}-\\u{18d1e}\\u{18d80}-\\u{18df2}\\u{1e6c0}-\\u{1e6de}\\u{1e6e0}-\\u{1e6e2}\\u{1e6e4}-\\u{1e6e5}\\u{1e6e7}-\\u{1e6ed}\\u{1e6f0}-\\u{1e6f4}\\u{1e6fe}-\\u{1e6ff}\\u{2b73a}-\\u{2b73f}\\u{2cea2}-\\u{2cead}\\u{323b0}-\\u{33479}"
const disputed = Number(process.versions.unicode) >= 17 ? new RegExp(`[${newLetters}]`, "u") : /\p{Cn}/u

describe("ids of transformers over the published vocabulary", () => {
  const files = { vocab: vocabFromMerges(publishedMerges), merges: publishedMerges }
  const tokenizer = clipTokenizer(files)
  const all = jsonFile(new URL("clip-tokenizer.json", golden)) as readonly (readonly [string, number[]])[]
  const rows = all.filter(([text]) => !disputed.test(text))

  it("has the ids and lengths that every CLIP text encoder expects", () => {
    expect(tokenizer.vocabSize).toBe(49408)
    expect(tokenizer.maxLength).toBe(77)
    expect(tokenizer.tokenize("").ids).toEqual([49406, ...Array(76).fill(49407)])
  })

  it(`encodes ${rows.length} texts`, () => {
    for (const [text, ids] of rows) {
      const row = tokenizer.tokenize(text)
      expect(row.ids.slice(0, row.length), JSON.stringify(text)).toEqual(ids)
    }
  })

  it("pads SDXL's second tokenizer with 0, also in a prompt", () => {
    const second = clipTokenizer({ ...files, specialTokens: { pad_token: "!" } })
    expect(second.tokenize("a cat!").ids.slice(0, 6)).toEqual([49406, 320, 2368, 0, 49407, 0])
  })

  it("says what did not fit", () => {
    const { dropped, length } = tokenizer.tokenize(`${"cat ".repeat(74)}dog, Fish`)
    expect({ dropped, length }).toEqual({ dropped: ", fish", length: 77 })
  })
})

it("the vocabulary that was learnt follows from its merges", () => {
  expect(vocabFromMerges(learned.merges)).toEqual(learned.vocab)
})

describe("any text", () => {
  const tokenizer = clipTokenizer(learned)

  it("comes back as its words with a space between", () => {
    const random = dice(11)
    const alphabets = [
      "abcdefgHIJ ",
      "红蓝苹果猫的一张，。 ",
      "’'sS!? \t\u3000",
      "éßΣİ가😀\u0301\ufeff\u200b\u0000",
      "0123٣Ⅷ",
    ]
    for (let round = 0; round < 2000; round++) {
      const text = Array.from({ length: random.below(30) }, () =>
        random.pick([...random.pick(alphabets)]),
      ).join("")
      const words = splitWords(normaliseText(text)).join(" ")
      expect(tokenizer.decode(tokenizer.encode(text)), JSON.stringify(text)).toBe(words)
    }
  })

  it.each([
    ["one letter", "a".repeat(100_000)],
    ["letters that merge", "redapple".repeat(12_500)],
    ["Chinese", "红苹果".repeat(33_333)],
    ["marks", "!".repeat(100_000)],
  ])("takes a word of 100,000 characters in seconds: %s", (_, word) => {
    const start = process.cpuUsage()
    const ids = tokenizer.encode(word)
    expect(process.cpuUsage(start).user / 1e6).toBeLessThan(5)
    expect(tokenizer.decode(ids)).toBe(word)
  })

  it("keeps its answers when it has seen more words than it remembers", () => {
    const first = tokenizer.encode("apple")
    for (let n = 0; n < 11_000; n++)
      tokenizer.encode(`x${n.toString(36).replace(/\d/g, (d) => "klmnopqrst"[+d])}`)
    expect(tokenizer.encode("apple")).toEqual(first)
  })
})

describe("files that are not what they should be", () => {
  const tiny = { vocab: { a: 0, "b</w>": 1, "ab</w>": 2, "<|startoftext|>": 3, "<|endoftext|>": 4 } }
  const merges = "#version: 0.2\na b</w>\n"

  it("takes the smallest vocabulary there is, and reads what it lacks as the unknown token", () => {
    const tokenizer = clipTokenizer({ ...tiny, merges })
    expect(tokenizer.encode("ab xab")).toEqual([2, 4, 2])
  })

  it.each<[string, unknown, string, RegExp]>([
    ["vocab.json is a list", [], merges, /vocab\.json should be an object/],
    ["an id is no number", { ...tiny.vocab, c: "5" }, merges, /vocab\.json gives the token "c" the id "5"/],
    [
      "no end token",
      { a: 0, "<|startoftext|>": 1 },
      merges,
      /vocab\.json has no token "<\|endoftext\|>".*eos_token/,
    ],
    ["no version", tiny.vocab, "a b</w>\n", /merges\.txt does not begin with a "#version:" line/],
    ["three parts", tiny.vocab, `${merges}a b c\n`, /merges\.txt line 3 should be two tokens.*"a b c"/],
    ["one part", tiny.vocab, "#version: 0.2\nab\na b</w>", /merges\.txt line 2 should be two tokens.*"ab"/],
    ["an unknown part", tiny.vocab, `${merges}a c</w>`, /merges\.txt line 3 needs the token "c<\/w>"/],
    ["an unknown whole", { ...tiny.vocab, c: 5 }, `${merges}c b</w>`, /line 3 needs the token "cb<\/w>"/],
  ])("refuses: %s", (_, vocab, text, message) => {
    const read = () => clipTokenizer({ vocab, merges: text })
    expect(read).toThrow(FormatError)
    expect(read).toThrow(message)
  })

  it.each<[string, unknown, RegExp]>([
    ["a length that is no number", { model_max_length: "77" }, /tokenizer_config\.json.*at model_max_length/],
    ["a length without room", { model_max_length: 2 }, /model_max_length/],
    ["a token that takes spaces", { eos_token: { content: "<|endoftext|>", lstrip: true } }, /eos_token/],
    ["a padding that is not there", { pad_token: "?" }, /vocab\.json has no token "\?".*pad_token/],
    [
      "another id",
      { added_tokens_decoder: { 3: { content: "<|endoftext|>" } } },
      /gives "<\|endoftext\|>" the id 3, but vocab\.json gives it 4/,
    ],
  ])("refuses in the settings: %s", (_, config, message) => {
    expect(() => clipTokenizer({ ...tiny, merges, config })).toThrow(FormatError)
    expect(() => clipTokenizer({ ...tiny, merges, config })).toThrow(message)
  })

  it("reads merges with Windows line ends, and a length that nobody stated as 77", () => {
    const windows = { ...tiny, merges: merges.replaceAll("\n", "\r\n"), config: { model_max_length: 1e30 } }
    expect(clipTokenizer(windows).encode("ab")).toEqual([2])
    expect(clipTokenizer(windows).maxLength).toBe(77)
  })

  it("refuses to decode an id that it does not have", () => {
    expect(() => clipTokenizer({ ...tiny, merges }).decode([0, 9])).toThrow(UsageError)
  })
})
