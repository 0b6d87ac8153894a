import { existsSync, readFileSync } from "node:fs"
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import { openChatGlmTokenizer } from "../../src/pipelines/tokenizer.ts"
import { chatGlmTokenizerFrom } from "../../src/tokenizers/chatglm.ts"
import { goldenFolder, goldenJson } from "./golden.ts"

const learned = readFileSync(join(goldenFolder, "chatglm-tokenizer/learned.model"))

/** A folder's settings, and text, ids, rows of 16 and decoded ids for each text. */
interface Group {
  readonly config: Record<string, unknown> | null
  readonly rows: readonly (readonly [string, number[], Row, string])[]
}
interface Row {
  readonly ids: number[]
  readonly attentionMask: number[]
  readonly positionIds: number[]
}
const groups = goldenJson<readonly Group[]>("chatglm-tokenizer/learned.json")
const settings = ["no settings", "the base model's", "the chat model's", "as transformers saves them"]

describe.each(groups.map((group, index) => ({ name: settings[index], ...group })))(
  "diffusers' ChatGLMTokenizer over a learned vocabulary: $name",
  ({ config, rows }) => {
    const tokenizer = chatGlmTokenizerFrom({ model: learned, config: config ?? undefined })

    it(`encodes ${rows.length} texts`, () => {
      for (const [text, ids] of rows) expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids)
    })

    it("cuts and pads", () => {
      for (const [text, ids, row] of rows) {
        const { droppedCount, dropped, ...typed } = tokenizer.tokenize(text, 16)
        const plain = Object.fromEntries(Object.entries(typed).map(([name, values]) => [name, [...values]]))
        expect(plain, JSON.stringify(text)).toEqual(row)
        expect(droppedCount).toBe(Math.max(ids.length - 14, 0))
        expect(dropped).toBe(tokenizer.decode(ids.slice(14)))
      }
    })

    it("decodes", () => {
      for (const [text, ids, , decoded] of rows)
        expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded)
    })
  },
)

const published = join(import.meta.dirname, "../../../shared/data/tokenizers/chatglm3")

describe.skipIf(!existsSync(published))(
  "the published vocabulary (skipped where ../shared/data/tokenizers/chatglm3 is not)",
  () => {
    const tokenizer = existsSync(published)
      ? chatGlmTokenizerFrom({ model: readFileSync(join(published, "tokenizer.model")) })
      : undefined!
    const rows = goldenJson<readonly (readonly [string, number[]])[]>("chatglm-tokenizer/published.json")

    it(`encodes ${rows.length} texts as diffusers does`, () => {
      for (const [text, ids] of rows) expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids)
    })

    it("fills a row of 256 from the left", () => {
      expect(tokenizer).toMatchObject({ vocabSize: 64798, maxLength: 256 })
      const { ids, attentionMask, positionIds, droppedCount, dropped } =
        tokenizer.tokenize("a photo of a cat")
      expect([...ids]).toEqual([...Array(249).fill(0), 64790, 64792, 260, 4562, 290, 260, 4577])
      expect([...attentionMask]).toEqual([...Array(249).fill(0), ...Array(7).fill(1)])
      expect([...positionIds]).toEqual([...Array(249).fill(0), 0, 1, 2, 3, 4, 5, 6])
      expect({ droppedCount, dropped }).toEqual({ droppedCount: 0, dropped: "" })
    })

    it("says what did not fit", () => {
      const { droppedCount, dropped } = tokenizer.tokenize(`${"cat ".repeat(254)}and a Dog, 一只狗`)
      expect({ droppedCount, dropped }).toEqual({ droppedCount: 7, dropped: "and a Dog, 一只狗" })
      expect(tokenizer.tokenize("cat ".repeat(254).trim()).droppedCount).toBe(0)
    })
  },
)

describe("a row", () => {
  const tokenizer = chatGlmTokenizerFrom({ model: learned })

  it("has room for the two marks at the least", () => {
    expect([...tokenizer.tokenize("a cat", 2).ids]).toEqual([701, 703])
    for (const length of [1, 0, -1, 2.5, Number.NaN])
      expect(() => tokenizer.tokenize("a cat", length)).toThrow(UsageError)
  })

  it("of nothing is padding and the two marks", () => {
    expect([...tokenizer.tokenize("", 4).ids]).toEqual([0, 0, 701, 703])
  })
})

describe("tokenizer_config.json", () => {
  it("may name tokens beyond the vocabulary, which then count", () => {
    const config = { added_tokens_decoder: { 800: { content: "<new>" } } }
    const tokenizer = chatGlmTokenizerFrom({ model: learned, config })
    expect(tokenizer.encode("<new><new>")).toEqual([800, 800])
    expect(tokenizer.decode([800, 701])).toBe("<new>[gMASK]")
    expect(tokenizer.vocabSize).toBe(801)
  })

  it.each([
    ["a list", []],
    ["a token that takes spaces", { added_tokens_decoder: { 5: { content: "x", lstrip: true } } }],
    ["an id that is none", { added_tokens_decoder: { five: { content: "x" } } }],
    ["an end that is a number", { eos_token: 2 }],
  ])("is refused where it is wrong: %s", (_, config) => {
    const open = () => chatGlmTokenizerFrom({ model: learned, config })
    expect(open).toThrow(FormatError)
    expect(open).toThrow(/^tokenizer_config\.json is not what/)
  })
})

describe("a model's folder", () => {
  let folder = ""
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "limn-chatglm-"))
  })
  afterAll(() => rm(folder, { recursive: true }))

  async function modelWith(name: string, part: string, files: Record<string, Uint8Array | string>) {
    const root = join(folder, name)
    await mkdir(join(root, part), { recursive: true })
    for (const [file, content] of Object.entries(files)) await writeFile(join(root, part, file), content)
    return root
  }

  it.each(["tokenizer", "text_encoder"])("may keep the tokenizer in %s", async (part) => {
    const config = JSON.stringify(groups[2].config)
    const root = await modelWith(`in-${part}`, part, {
      "tokenizer.model": learned,
      "tokenizer_config.json": config,
    })
    const tokenizer = await openChatGlmTokenizer(root)
    expect(tokenizer.encode("sop")).toEqual([703])
  })

  it("may lack settings, not the vocabulary", async () => {
    const bare = await openChatGlmTokenizer(
      await modelWith("bare", "tokenizer", { "tokenizer.model": learned }),
    )
    expect(bare.encode("sop")).not.toEqual([703])
    const without = await modelWith("without", "tokenizer", { "vocab.json": "{}" })
    await expect(openChatGlmTokenizer(without)).rejects.toThrow(LimnError)
    await expect(openChatGlmTokenizer(without)).rejects.toThrow(/without has no tokenizer\.model/)
  })
})
