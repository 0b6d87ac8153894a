import { readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import {
  bytesField,
  floatField,
  integerField,
  joined,
  stringField,
  type Wire,
  wireBytes,
} from "../../src/formats/protobuf.ts"
import { FormatError, UsageError } from "../../src/ground/errors.ts"
import { sentencePiece } from "../../src/tokenizers/sentencepiece-bpe.ts"
import { readSentencePieceModel } from "../../src/tokenizers/sentencepiece-model.ts"
import { type Dice, dice, fuzzRounds } from "./dice.ts"
import { goldenFolder, goldenJson } from "./golden.ts"

const golden = (name: string) => readFileSync(join(goldenFolder, "chatglm-tokenizer", name))
const learned = golden("learned.model")
const symbols = golden("symbols.model")

/** Kinds of pieces, by their numbers in the file. */
const NORMAL = 1
const UNKNOWN = 2
const UNUSED = 5
const BYTE = 6

function piece(text: string, kind = NORMAL, score = 0): Wire {
  return bytesField(1, joined([stringField(1, text), floatField(2, score), integerField(3, kind)]))
}
const unk = piece("<unk>", UNKNOWN)
const trainer = (...fields: Wire[]) => bytesField(2, joined([integerField(3, 2), ...fields]))
const normalizer = (...fields: Wire[]) => bytesField(3, joined([integerField(4, 0), ...fields]))

/** The smallest models: pieces, and settings that any of `rest` overrides. */
function tiny(...rest: Wire[]): Uint8Array {
  return wireBytes(joined([unk, trainer(), normalizer(), ...rest]))
}

describe("SentencePieceProcessor's ids", () => {
  it("by a model without bytes and with symbols, where many pieces are equally good", () => {
    const tokenizer = sentencePiece(readSentencePieceModel(symbols))
    const rows = goldenJson<[string, number[], string][]>("chatglm-tokenizer/symbols.json")
    for (const [text, ids, decoded] of rows) {
      expect(tokenizer.encode(text), JSON.stringify(text)).toEqual(ids)
      expect(tokenizer.decode(ids), JSON.stringify(text)).toBe(decoded)
    }
  })

  it("decode, whatever they are", () => {
    const tokenizer = sentencePiece(readSentencePieceModel(learned))
    for (const [ids, text] of goldenJson<[number[], string][]>("chatglm-tokenizer/decoded.json"))
      expect(tokenizer.decode(ids), String(ids)).toBe(text)
  })
})

describe("any text", () => {
  const tokenizer = sentencePiece(readSentencePieceModel(learned))

  it("comes back as it was", () => {
    const random = dice(12)
    const alphabets = [
      "abcdefgh IJ ",
      "红蓝苹果猫的一张，。 ",
      " \t\n\u3000\u0000",
      "éß😀\u0301\ufeff\u200d龘",
      "0123٣Ⅷ<>x",
    ]
    for (let round = 0; round < 2000; round++) {
      const text = Array.from({ length: random.below(30) }, () =>
        random.pick([...random.pick(alphabets)]),
      ).join("")
      expect(tokenizer.decode(tokenizer.encode(text)), JSON.stringify(text)).toBe(text)
    }
  })

  it("reads half a surrogate pair as U+FFFD", () => {
    for (const half of ["\ud83d", "\ude00"]) {
      expect(tokenizer.encode(`a${half}b`)).toEqual(tokenizer.encode("a\ufffdb"))
      expect(tokenizer.encode(half)).toEqual(tokenizer.encode("\ufffd"))
    }
    expect(tokenizer.encode("\ude00\ud83d")).toEqual(tokenizer.encode("\ufffd\ufffd"))
  })

  it.each([
    ["one letter", "a".repeat(100_000)],
    ["letters that merge", "the red cat".repeat(9_100)],
    ["Chinese", "红苹果".repeat(33_333)],
    ["spaces", " ".repeat(100_000)],
    ["characters without a piece", "😀".repeat(50_000)],
  ])("takes 100,000 characters in seconds: %s", (_, text) => {
    const start = process.cpuUsage()
    const ids = tokenizer.encode(text)
    expect(process.cpuUsage(start).user / 1e6).toBeLessThan(5)
    expect(tokenizer.decode(ids)).toBe(text)
  })

  it("has no room for ids that the model lacks", () => {
    for (const id of [700, -1, 0.5]) expect(() => tokenizer.decode([5, id])).toThrow(UsageError)
  })
})

describe("of equal pieces", () => {
  it("the leftmost is joined first, and of unequal ones the better", () => {
    const letters = [..."abc"].map((letter) => piece(letter, NORMAL, -9))
    const abc = (ab: number, bc: number) =>
      sentencePiece(
        readSentencePieceModel(
          tiny(...letters, piece("ab", NORMAL, ab), piece("bc", NORMAL, bc), normalizer(integerField(3, 0))),
        ),
      ).encode("abc")
    const [a, c, ab, bc] = [1, 3, 4, 5]
    expect(abc(-1, -1)).toEqual([ab, c])
    expect(abc(-1, -2)).toEqual([ab, c])
    expect(abc(-2, -1)).toEqual([a, bc])
  })
})

describe("files that are not what they should be", () => {
  const bytes = Array.from({ length: 256 }, (_, byte) =>
    piece(`<0x${byte.toString(16).padStart(2, "0").toUpperCase()}>`, BYTE),
  )
  const fallback = trainer(integerField(35, 1))

  it("takes the smallest model there is, with and without bytes", () => {
    expect(sentencePiece(readSentencePieceModel(tiny())).encode("ab c")).toEqual([0])
    const spelling = sentencePiece(readSentencePieceModel(tiny(fallback, ...bytes)))
    expect(spelling.encode("a")).toEqual([0xe2, 0x96, 0x81, 0x61].map((byte) => byte + 1))
  })

  it("takes fields that it does not know", () => {
    const more = [bytesField(4, ""), integerField(200, 3), floatField(201, 1)]
    expect(readSentencePieceModel(tiny(...more)).pieces).toHaveLength(1)
  })

  it.each<[string, Uint8Array, RegExp]>([
    ["nothing", new Uint8Array(), /holds no pieces/],
    ["a page", new TextEncoder().encode("<!DOCTYPE html><title>404</title>"), /is it the file itself/],
    [
      "a pointer to the file",
      new TextEncoder().encode("version https://git-lfs.github.com/spec/v1\n"),
      /no field begins with 118; is it the file itself/,
    ],
    ["half of the file", learned.subarray(0, learned.length >> 1), /breaks off/],
    ["another kind of model", tiny(bytesField(2, integerField(3, 1))), /no BPE model of SentencePiece/],
    [
      "no unknown piece",
      wireBytes(joined([piece("a"), trainer(), normalizer()])),
      /one piece for what is unknown/,
    ],
    ["two unknown pieces", tiny(piece("?", UNKNOWN)), /one piece for what is unknown/],
    ["a piece twice", tiny(piece("a"), piece("b"), piece("a")), /the piece "a" twice/],
    ["an empty piece", tiny(piece("")), /an empty piece, 1/],
    ["a score that is no number", tiny(piece("a", NORMAL, Number.NaN)), /piece 1 the score NaN/],
    ["an unused piece", tiny(piece("a", UNUSED)), /kind that limn does not know, 1 \(a\)/],
    ["a piece that is no text", tiny(bytesField(1, bytesField(1, Uint8Array.of(0xff, 0xfe)))), /no UTF-8, 1/],
    ["a missing byte", tiny(fallback, ...bytes.slice(0, 255)), /no byte piece <0xFF>/],
    ["a byte that is an ordinary piece", tiny(fallback, piece("<0x00>"), ...bytes.slice(1)), /<0x00>/],
    ["a table of characters", tiny(normalizer(bytesField(2, Uint8Array.of(1)))), /replaces characters/],
    ["spaces that are removed", tiny(normalizer(integerField(4, 1))), /removes repeated spaces/],
    ["spaces that stay spaces", tiny(normalizer(integerField(5, 0))), /keeps spaces/],
    ["spaces behind words", tiny(trainer(integerField(24, 1))), /at the end of words/],
    ["no settings", wireBytes(joined([unk])), /no BPE model/],
  ])("refuses %s", (_, file, message) => {
    const read = () => readSentencePieceModel(file, "folder/tokenizer.model")
    expect(read).toThrow(FormatError)
    expect(read).toThrow(message)
    expect(read).toThrow(/^folder\/tokenizer\.model [^\n]*\.$|\?$/)
  })
})

describe("damaged files", () => {
  it("either read and encode, or are refused in a sentence", () => {
    const rounds = fuzzRounds(500)
    const random = dice(13)
    let refused = 0
    for (let round = 0; round < rounds; round++) {
      const file = damage(random.pick([learned, symbols]), random)
      try {
        const tokenizer = sentencePiece(readSentencePieceModel(file))
        tokenizer.decode(tokenizer.encode("two cats, 猫 😀 <cat>s"))
      } catch (error) {
        expect(error, `round ${round}`).toBeInstanceOf(FormatError)
        expect((error as Error).message.length).toBeLessThan(300)
        refused++
      }
    }
    // Both happen: a change of a score, or of a letter, makes another model.
    expect(refused).toBeGreaterThan(rounds / 2)
    expect(refused).toBeLessThan(rounds * 0.95)
  })
})

/** Some bytes of a file changed, left out, put in or repeated, or its end cut off. */
function damage(file: Uint8Array, random: Dice): Uint8Array {
  let bytes = Array.from(file)
  for (let times = 1 + random.below(2); times > 0; times--) {
    // Where one change matters most: the settings at the end, and the first pieces.
    const near = random.pick([
      0,
      bytes.length - 120,
      ...Array.from({ length: 4 }, () => random.below(bytes.length)),
    ])
    const at = Math.min(Math.max(near + random.below(120), 0), bytes.length - 1)
    const some = Array.from({ length: 1 + random.below(12) }, () =>
      random.pick([0, 0x7f, 0x80, 0xff, random.below(256)]),
    )
    const change = random.below(8)
    if (change === 0) bytes = bytes.slice(0, at)
    else if (change === 1) bytes.splice(at, 1 + random.below(20))
    else if (change === 2) bytes.splice(at, 0, ...some)
    else if (change === 3) bytes.splice(at, some.length, ...some)
    else bytes[at] ^= 1 << random.below(8)
    if (bytes.length === 0) break
  }
  return Uint8Array.from(bytes)
}
