import { UsageError } from "../ground/errors.ts"
import { tokenFinder } from "./added-tokens.ts"
import { type ClipTokenizerFiles, type ClipVocabulary, readClipVocabulary } from "./clip-files.ts"
import { byteCharacters, endOfWord, normaliseText, spellWord, splitWords } from "./clip-words.ts"
import { mergeSymbols } from "./merge-symbols.ts"

/** Text <-> the ids that a CLIP text encoder takes. */
export interface Tokenizer {
  /** Ids in a row of the text encoder's input, bos and eos among them; 77 for every published CLIP. */
  readonly maxLength: number
  /** Rows that the embedding table must have: the highest id + 1. */
  readonly vocabSize: number
  /** Ids of a text of any length, without bos and eos. */
  encode(text: string): number[]
  /** One row of the text encoder's input: bos, the ids that fit, eos, padding. */
  tokenize(text: string): TokenRow
  /** The row around at most `maxLength` - 2 ids of one's own: exactly `maxLength` ids. */
  row(ids: readonly number[]): number[]
  /** The text that ids stand for: lower case, one space after each word, bytes that are no UTF-8 as U+FFFD. */
  decode(ids: readonly number[]): string
  /**
   * The same tokenizer with one more word, found wherever it stands in a text, in any case, and read as `count` ids from
   * `id` on: a word that textual inversion has learnt. Each of the later ids also has a word of its own, `word_1` and so
   * on (diffusers `load_textual_inversion`). Throws a UsageError for a word that is empty or that it already has.
   */
  extend(word: string, id: number, count: number): Tokenizer
}

/** What `tokenize` returns. */
export interface TokenRow {
  /** Exactly `maxLength` ids. */
  readonly ids: number[]
  /** How many of them come before the padding, bos and eos included. */
  readonly length: number
  /** The end of the prompt that did not fit, decoded; "" when all of it did. */
  readonly dropped: string
}

/**
 * CLIP's byte-level BPE, id for id what transformers makes of the same files: `CLIPTokenizer` of transformers 5, and
 * `CLIPTokenizerFast` of 4 but for the punctuation behind a misspelt "<|EndOfText|>". The slow `CLIPTokenizer` of 4 is
 * another tokenizer: it puts spaces around every Chinese character, drops control characters and U+FFFD, gives a sigma
 * that ends a word its final form, reads "ſ" as "s" in English endings, and has ftfy mend the text where it is installed.
 *
 * @throws FormatError where a file is not what it should be
 */
export function clipTokenizer(files: ClipTokenizerFiles): Tokenizer {
  const vocabulary = readClipVocabulary(files)
  return tokenizerOf(vocabulary, wordEncoder(vocabulary))
}

function tokenizerOf(vocabulary: ClipVocabulary, encodeWord: (word: string) => readonly number[]): Tokenizer {
  const { added, bos, eos, pad, maxLength } = vocabulary
  const asTyped = tokenFinder(added.filter((token) => !token.normalized))
  const normalised = tokenFinder(added.filter((token) => token.normalized))
  const tokenOf = new Map<number, string>()
  for (const [token, id] of vocabulary.idOf) tokenOf.set(id, token)
  for (const { text, id } of added) tokenOf.set(id, text)

  function encode(text: string): number[] {
    const ids: number[] = []
    for (const typed of asTyped(text)) {
      if (typeof typed === "object") for (const id of typed) ids.push(id)
      else {
        for (const piece of normalised(normaliseText(typed))) {
          if (typeof piece === "object") for (const id of piece) ids.push(id)
          else for (const word of splitWords(piece)) for (const id of encodeWord(word)) ids.push(id)
        }
      }
    }
    return ids
  }

  function decode(ids: readonly number[]): string {
    const tokens = ids.map((id) => {
      const token = tokenOf.get(id)
      if (token === undefined) throw new UsageError(`The tokenizer has no token ${id}.`)
      return token
    })
    return textOfTokens(tokens)
  }

  function row(ids: readonly number[]): number[] {
    const whole = [bos, ...ids, eos]
    while (whole.length < maxLength) whole.push(pad)
    return whole
  }

  return {
    maxLength,
    vocabSize: [...tokenOf.keys()].reduce((highest, id) => Math.max(highest, id), 0) + 1,
    encode,
    decode,
    tokenize(text) {
      const all = encode(text)
      const fitting = all.slice(0, maxLength - 2)
      return {
        ids: row(fitting),
        length: fitting.length + 2,
        dropped: decode(all.slice(fitting.length)),
      }
    },
    row,
    extend(word, id, count) {
      if (word.trim() === "") throw new UsageError("A word without letters is found nowhere; give another.")
      const words = Array.from({ length: count }, (_, k) => (k === 0 ? word : `${word}_${k}`))
      const more = words.map((one, k) => ({
        id: id + k,
        count: k === 0 ? count : 1,
        text: normaliseText(one),
        normalized: true,
      }))
      const taken = more.find(({ text }) => added.some((token) => token.text === text))
      if (taken !== undefined)
        throw new UsageError(
          `The tokenizer already has the word ${JSON.stringify(taken.text)}; give this one another.`,
        )
      return tokenizerOf({ ...vocabulary, added: [...added, ...more] }, encodeWord)
    },
  }
}

// Prompts repeat few words, but a server sees many prompts: both bounds keep the cache small. 10,000 words is the
// capacity of the reference's cache.
const cachedWords = 10_000
const cachedWordLength = 64

/** A function from one word to its ids, with a memory of the words it has seen. */
function wordEncoder(vocabulary: ClipVocabulary): (word: string) => readonly number[] {
  const { idOf, merges, unknown } = vocabulary
  const highest = [...idOf.values()].reduce((a, b) => Math.max(a, b), 0)
  const pair = (left: number, right: number) => left * (highest + 1) + right
  const mergeOf = new Map(
    merges.map(({ left, right, joined }, rank) => [pair(left, right), { symbol: joined, rank }]),
  )
  const cache = new Map<string, readonly number[]>()

  function encode(word: string): number[] {
    const ids = spellWord(word).map((symbol) => idOf.get(symbol) ?? unknown)
    return mergeSymbols(ids, (left, right) => mergeOf.get(pair(left, right)))
  }

  return (word) => {
    const known = cache.get(word)
    if (known) return known
    const ids = encode(word)
    if (word.length <= cachedWordLength) {
      if (cache.size >= cachedWords) cache.clear()
      cache.set(word, ids)
    }
    return ids
  }
}

const byteOf = new Map(byteCharacters.map((character, byte) => [character, byte]))
const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { ignoreBOM: true })

function textOfTokens(tokens: readonly string[]): string {
  const bytes = tokens.flatMap((token) => {
    const ends = token.endsWith(endOfWord)
    const spelled = Array.from(ends ? token.slice(0, -endOfWord.length) : token, (character) =>
      byteOf.get(character),
    )
    // Only an added token has characters outside the table; it stands for itself.
    const own = spelled.every((byte) => byte !== undefined) ? spelled : [...encoder.encode(token)]
    return ends ? [...own, 0x20] : own
  })
  return decoder.decode(Uint8Array.from(bytes)).replace(/^ +| +$/g, "")
}
