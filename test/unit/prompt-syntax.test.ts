import { describe, expect, test } from "vitest"
import { escapeWeights, parseWeights } from "../../src/pipelines/prompt-syntax.ts"
import { dice, fuzzRounds } from "./dice.ts"

describe("weights in a prompt", () => {
  // The first six are the examples that the web UI itself gives.
  test.each([
    ["normal text", ["normal text"], [1]],
    ["an (important) word", ["an ", "important", " word"], [1, 1.1, 1]],
    ["(unbalanced", ["unbalanced"], [1.1]],
    ["\\(literal\\]", ["(literal]"], [1]],
    ["(unnecessary)(parens)", ["unnecessaryparens"], [1.1]],
    [
      "a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).",
      ["a ", "house", " ", "on", " a ", "hill", ", sun, ", "sky", "."],
      [1, 1.573, 1.1, 1, 1.1, 0.55, 1.1, 1.4641, 1.1],
    ],
    ["a (house:1.3) [night]", ["a ", "house", " ", "night"], [1, 1.3, 1, 1 / 1.1]],
    ["((a)) [[b]]", ["a", " ", "b"], [1.21, 1, 1 / 1.21]],
    ["(a : -.5 )", ["a "], [-0.5]],
    ["(a (b:2) c:3)", ["a ", "b", " c"], [3, 6, 3]],
    ["(a [b) c]", ["a ", "b", " c"], [1.1, 1, 1 / 1.1]],
    ["a] b) c:1.5) \\ d\\\\", ["a] b) c:1.5) \\ d\\"], [1]],
    ["a: b, 1:2", ["a: b, 1:2"], [1]],
    ["(a:1.2.3)", ["a:1.2.3"], [1.1]],
    ["(a:.)", ["a:."], [1.1]],
    ["(a:x) (b:)", ["a:x", " ", "b:"], [1.1, 1, 1.1]],
    ["[cat:dog:0.5]", ["cat:dog:0.5"], [1 / 1.1]],
    ["()[]", [], []],
    ["", [], []],
    ["（全角）括号", ["（全角）括号"], [1]],
    [`(a:1${"0".repeat(400)})`, ["a"], [1000]],
    [`${"(".repeat(9000)}a`, ["a"], [1000]],
  ])("%s", (prompt, texts, weights) => {
    const sections = parseWeights(prompt)
    expect(sections).toHaveLength(1)
    expect(sections[0].map(({ text }) => text)).toEqual(texts)
    for (const [i, { weight }] of sections[0].entries()) expect(weight).toBeCloseTo(weights[i], 12)
  })

  test("BREAK ends a section, within brackets too, and in no other word", () => {
    expect(parseWeights("a cat BREAK a dog\nBREAK\n(red BREAK blue:1.5)")).toEqual([
      [{ text: "a cat", weight: 1 }],
      [{ text: "a dog", weight: 1 }],
      [
        { text: "", weight: 1 },
        { text: "red", weight: 1.5 },
      ],
      [{ text: "blue", weight: 1.5 }],
    ])
    expect(parseWeights("BREAKFAST, éBREAK, break, _BREAK")).toHaveLength(1)
    expect(parseWeights("BREAK")).toHaveLength(2)
  })
})

test("long runs take no longer than their length", () => {
  for (const run of [" ", "1", ":", ":1", "(", "\\\\", "BREAK "]) {
    const start = performance.now()
    parseWeights(`(a:1${run.repeat(100_000)}x`)
    expect(performance.now() - start).toBeLessThan(5000)
  }
})

test("any text is a prompt: no error, finite weights, no letter lost or made up", () => {
  const { below, pick } = dice(3)
  const rounds = fuzzRounds(1000)
  const pieces = [
    "(",
    ")",
    "[",
    "]",
    "\\",
    ":",
    ":1.3)",
    ":-2 )",
    "1",
    ".",
    " ",
    "BREAK",
    "cat",
    "猫",
    "\ud800",
    "\n",
  ]
  for (let round = 0; round < rounds; round++) {
    const prompt = Array.from({ length: below(30) }, () => pick(pieces)).join("")
    const sections = parseWeights(prompt)
    expect(sections.flat().every(({ weight }) => Math.abs(weight) <= 1000)).toBe(true)
    const text = sections.flatMap((parts) => parts.map((part) => part.text)).join("")
    const letters = (all: string) => all.replace(/BREAK|[^\p{L}\ud800]/gu, "")
    expect(letters(text)).toBe(letters(prompt))
    const plain = prompt.replaceAll("BREAK", "")
    expect(parseWeights(escapeWeights(plain)).flat()).toEqual(
      plain === "" ? [] : [{ text: plain, weight: 1 }],
    )
  }
})
