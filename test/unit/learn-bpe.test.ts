import { readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import { UsageError } from "../../src/ground/errors.ts"
import { clipTokenizer } from "../../src/tokenizers/clip-bpe.ts"
import { normaliseText, spellWord, splitWords } from "../../src/tokenizers/clip-words.ts"
import { learnClipBpe } from "../../src/tokenizers/learn-bpe.ts"
import { dice } from "./dice.ts"
import { captions } from "./learn-bpe-captions.ts"

/** The definition, word for word: count every pair afresh, join the best, repeat. */
function mergesByDefinition(texts: readonly string[], count: number): string[] {
  const words = texts.flatMap((text) => splitWords(normaliseText(text))).map(spellWord)
  const made = new Set<string>(words.flat())
  const merges: string[] = []
  const refused = new Set<string>()
  while (merges.length < count) {
    const counts = new Map<string, number>()
    for (const word of words)
      for (let i = 0; i + 1 < word.length; i++) {
        const pair = `${word[i]} ${word[i + 1]}`
        counts.set(pair, (counts.get(pair) ?? 0) + 1)
      }
    const [best] = [...counts]
      .filter(([pair, n]) => n >= 2 && !refused.has(pair))
      .sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1))
    if (!best) break
    const [left, right] = best[0].split(" ")
    if (made.has(left + right)) {
      refused.add(best[0])
      continue
    }
    made.add(left + right)
    merges.push(best[0])
    for (const word of words)
      for (let i = 0; i + 1 < word.length; i++)
        if (word[i] === left && word[i + 1] === right) word.splice(i, 2, left + right)
  }
  return merges
}

describe("learning a vocabulary", () => {
  it("gives the committed one again, which transformers has loaded", () => {
    const golden = new URL("../golden/clip-tokenizer-learned/", import.meta.url)
    const learned = learnClipBpe(captions(), { vocabSize: 900 })
    expect(learned.merges).toBe(readFileSync(new URL("merges.txt", golden), "utf8"))
    expect(learned.vocab).toEqual(JSON.parse(readFileSync(new URL("vocab.json", golden), "utf8")))
  })

  it("merges what the definition merges", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = dice(seed)
      const letters = [...random.pick(["ab", "abc", "abcdefg'1 ", "红蓝绿a "])]
      const texts = Array.from({ length: 40 }, () =>
        Array.from({ length: 1 + random.below(12) }, () => random.pick(letters)).join(""),
      )
      const { merges } = learnClipBpe(texts, { vocabSize: 514 + 60 })
      expect(merges.trim().split("\n").slice(1), `seed ${seed}`).toEqual(mergesByDefinition(texts, 60))
    }
  })

  it("does not depend on the order of the texts", () => {
    const texts = captions()
    const random = dice(3)
    const shuffled = texts
      .map((text) => ({ text, key: random.next() }))
      .sort((a, b) => a.key - b.key)
      .map(({ text }) => text)
    expect(learnClipBpe(shuffled, { vocabSize: 700 })).toEqual(learnClipBpe(texts, { vocabSize: 700 }))
  })

  it("numbers bytes first, then merges, then bos and eos, and stays within its size", () => {
    const { vocab, merges } = learnClipBpe(captions(), { vocabSize: 600 })
    expect(Object.values(vocab).sort((a, b) => a - b)).toEqual([...Array(600).keys()])
    expect(merges.trim().split("\n")).toHaveLength(1 + 600 - 514)
    expect([vocab["!"], vocab["!</w>"], vocab["<|startoftext|>"], vocab["<|endoftext|>"]]).toEqual([
      0, 256, 598, 599,
    ])
  })

  it("stops when no pair is seen twice", () => {
    expect(Object.keys(learnClipBpe(["abc"], { vocabSize: 600 }).vocab)).toHaveLength(514)
  })

  it("spends few tokens on common words of either language", () => {
    const tokenizer = clipTokenizer(learnClipBpe(captions(), { vocabSize: 900 }))
    expect(tokenizer.encode("a red apple")).toHaveLength(3)
    expect(tokenizer.encode("苹果").length).toBe(1)
    expect(tokenizer.encode("一张红色苹果的贴纸").length).toBeLessThanOrEqual(5)
  })

  it("learns in seconds from as many captions as a training run has", () => {
    const random = dice(9)
    const syllables = [..."bdfgklmnprst"].flatMap((c) => [..."aeiou"].map((v) => c + v))
    const words = Array.from({ length: 3000 }, () =>
      Array.from({ length: 2 + random.below(4) }, () => random.pick(syllables)).join(""),
    )
    const texts = Array.from({ length: 100_000 }, () =>
      Array.from({ length: 5 }, () => words[Math.floor(3000 * random.next() ** 2)]).join(" "),
    )
    const start = process.cpuUsage()
    expect(Object.keys(learnClipBpe(texts, { vocabSize: 4096 }).vocab)).toHaveLength(4096)
    expect(process.cpuUsage(start).user / 1e6).toBeLessThan(15)
  })

  it("refuses a size that leaves no room", () => {
    expect(() => learnClipBpe([], { vocabSize: 513 })).toThrow(UsageError)
  })
})
