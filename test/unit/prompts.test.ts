import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { float32 } from "../../src/ground/tensor.ts"
import { promptChunks } from "../../src/pipelines/prompt-chunks.ts"
import { parseWeights } from "../../src/pipelines/prompt-syntax.ts"
import { emphasise, promptWarnings } from "../../src/pipelines/prompts.ts"
import { clipTokenizer } from "../../src/tokenizers/clip-bpe.ts"
import { vocabFromMerges } from "../../src/tokenizers/clip-files.ts"

const merges = readFileSync(new URL("../../models/clip-tokenizer/merges.txt", import.meta.url), "utf8")
const tokenizer = clipTokenizer({ vocab: vocabFromMerges(merges), merges })
const chunks = (prompt: string) => promptChunks(tokenizer, parseWeights(prompt))
/** How many words each chunk holds. */
const sizes = (prompt: string) => chunks(prompt).map(({ ids }) => ids.indexOf(49407) - 1)

describe("a prompt's chunks", () => {
  test("are the tokenizer's own row where it is short", () => {
    for (const text of ["", "a red heart", "cat ".repeat(75)])
      expect(promptChunks(tokenizer, [[{ text, weight: 1 }]])).toEqual([
        { ids: tokenizer.tokenize(text).ids, weights: Array(77).fill(1) },
      ])
  })

  test.each([
    ["cat ".repeat(76), [75, 1]],
    ["cat ".repeat(151), [75, 75, 1]],
    [`${"cat ".repeat(60)}, ${"dog ".repeat(30)}`, [61, 30]],
    // The comma is the 21st from the end, and too far.
    [`${"cat ".repeat(54)}, ${"dog ".repeat(30)}`, [75, 10]],
    [`${"cat ".repeat(55)}, ${"dog ".repeat(30)}`, [56, 30]],
    [`${"cat ".repeat(75)}, dog`, [75, 2]],
    [`${"cat ".repeat(70)}, cat cat cat cat, dog`, [75, 2]],
    ["cat BREAK dog dog", [1, 2]],
    ["BREAK dog", [0, 1]],
    ["cat BREAK", [1]],
    ["cat BREAK BREAK dog", [1, 0, 1]],
    [`${"cat ".repeat(76)} BREAK dog`, [75, 1, 1]],
  ])("%s", (prompt, expected) => {
    expect(sizes(prompt)).toEqual(expected)
  })

  test("hold every word and its weight, in order", () => {
    const found = chunks(`${"cat ".repeat(70)}, (${"dog ".repeat(80)}:1.5)`)
    const words = found.flatMap(({ ids, weights }) =>
      ids.flatMap((id, i) => (id < 49406 ? [[id, weights[i]]] : [])),
    )
    const cat = Array(70).fill([2368, 1])
    expect(words).toEqual([...cat, [267, 1], ...Array(80).fill([1929, 1.5])])
    for (const { ids, weights } of found) {
      expect([ids.length, weights.length]).toEqual([77, 77])
      expect(weights.filter((_, i) => ids[i] >= 49406).every((weight) => weight === 1)).toBe(true)
    }
  })
})

describe("emphasis", () => {
  const state = float32([1, 3, 2], [1, 2, 3, 4, 5, 6])

  test("weighs each place and keeps the mean", () => {
    const { data } = emphasise(state, [1, 2, 1])
    const ratio = 21 / 28
    expect([...data]).toEqual([1, 2, 6, 8, 5, 6].map((value) => value * ratio))
  })

  test("of 1 changes no bit, and of nothing but zeros no number", () => {
    expect(emphasise(state, [1, 1, 1])).toBe(state)
    expect([...emphasise(state, [0, 0, 0]).data]).toEqual([0, 0, 0, 0, 0, 0])
  })
})

test("weights that are read as text are told of", () => {
  const texts = ["a cat (smiling), at 10:30", "a (red:1.3) cat"]
  expect(promptWarnings({ textEncoders: [] }, texts, "weighted")).toEqual([])
  expect(promptWarnings({ textEncoders: [] }, texts.slice(0, 1), "plain")).toEqual([])
  expect(promptWarnings({ textEncoders: [] }, texts, "plain")).toEqual([
    'Weights are read as text in "a (red:1.3) cat"; promptSyntax "weighted" would heed them.',
  ])
})
