import { UsageError } from "../ground/errors.ts"
import { byteTokens, marks, normaliseText, spellWord, splitWords } from "./clip-words.ts"
import { heapPop, heapPush } from "./heap.ts"

/** A learned vocabulary as the two files that `clipTokenizer` and transformers' `CLIPTokenizer` load. */
export interface LearnedBpe {
  /** vocab.json: the 256 bytes, the 256 bytes that end a word, one token for each merge, bos, eos. */
  readonly vocab: Record<string, number>
  /** merges.txt. */
  readonly merges: string
}

/** Tokens that no text has to teach: each byte within a word and at its end, bos and eos. */
const givenTokens = byteTokens.length + marks.length

/**
 * Learns a CLIP-style byte-level BPE from texts: the most frequent pair of neighbours becomes a token, and again, until
 * the vocabulary is full or no pair is seen twice (Sennrich et al. 2016). Of pairs equally frequent the first in text
 * order wins, so the same texts in any order give the same files.
 *
 * @param texts a text that comes up n times counts n times
 * @param options.vocabSize most tokens the vocabulary may have, 514 given ones among them
 */
export function learnClipBpe(texts: Iterable<string>, { vocabSize }: { vocabSize: number }): LearnedBpe {
  if (!Number.isSafeInteger(vocabSize) || vocabSize < givenTokens) {
    throw new UsageError(
      `A vocabulary has ${givenTokens} tokens before anything is learned, so ${vocabSize} is too few.`,
    )
  }
  const tokens = [...byteTokens]
  const idOf = new Map(tokens.map((token, id) => [token, id]))
  const merges: string[] = []
  const pairs = countPairs(readWords(texts, idOf), tokens, vocabSize)
  for (let best = pairs.takeBest(); best && tokens.length < vocabSize - 2; best = pairs.takeBest()) {
    const [left, right] = best
    const token = tokens[left] + tokens[right]
    // A token that another pair already makes would give encoding two ways to the same id.
    if (idOf.has(token)) continue
    merges.push(`${tokens[left]} ${tokens[right]}`)
    idOf.set(token, tokens.length)
    tokens.push(token)
    pairs.merge(left, right, tokens.length - 1)
  }
  tokens.push(...marks)
  return {
    vocab: Object.fromEntries(tokens.map((token, id) => [token, id])),
    merges: ["#version: 0.2", ...merges, ""].join("\n"),
  }
}

/** A word of the texts: what it is made of so far, and how often it comes up. */
interface Word {
  ids: number[]
  readonly count: number
}

function readWords(texts: Iterable<string>, idOf: ReadonlyMap<string, number>): Word[] {
  const counts = new Map<string, number>()
  for (const text of texts) {
    for (const word of splitWords(normaliseText(text))) counts.set(word, (counts.get(word) ?? 0) + 1)
  }
  return [...counts].map(([word, count]) => ({
    ids: spellWord(word).map((symbol) => idOf.get(symbol)!),
    count,
  }))
}

interface Candidate {
  readonly pair: number
  readonly count: number
}

/** How often each pair of neighbours comes up, kept up to date by looking only where a merge changes something. */
function countPairs(words: readonly Word[], tokens: readonly string[], vocabSize: number) {
  const key = (left: number, right: number) => left * vocabSize + right
  const sides = (pair: number): [left: number, right: number] => [
    Math.floor(pair / vocabSize),
    pair % vocabSize,
  ]
  const counts = new Map<number, number>()
  /** The words that have a pair, and perhaps some that had it once. */
  const wordsWith = new Map<number, Set<Word>>()
  const waiting: Candidate[] = []
  const isBetter = (a: Candidate, b: Candidate) => {
    if (a.count !== b.count) return a.count > b.count
    const [leftA, rightA] = sides(a.pair)
    const [leftB, rightB] = sides(b.pair)
    return leftA === leftB ? tokens[rightA] < tokens[rightB] : tokens[leftA] < tokens[leftB]
  }

  let changes = new Map<number, number>()
  const change = (left: number, right: number, times: number) => {
    const pair = key(left, right)
    changes.set(pair, (changes.get(pair) ?? 0) + times)
  }
  const appear = (left: number, right: number, word: Word) => {
    change(left, right, word.count)
    const having = wordsWith.get(key(left, right))
    if (having) having.add(word)
    else wordsWith.set(key(left, right), new Set([word]))
  }
  const applyChanges = () => {
    for (const [pair, times] of changes) {
      if (times === 0) continue
      const count = (counts.get(pair) ?? 0) + times
      counts.set(pair, count)
      if (count >= 2) heapPush(waiting, { pair, count }, isBetter)
    }
    changes = new Map()
  }

  function mergeIn(word: Word, left: number, right: number, joined: number): void {
    const { ids, count } = word
    const result: number[] = []
    for (let place = 0; place < ids.length; place++) {
      if (ids[place] !== left || ids[place + 1] !== right) {
        result.push(ids[place])
        continue
      }
      const before = result.at(-1)
      const after = ids.at(place + 2)
      change(left, right, -count)
      if (before !== undefined) {
        change(before, left, -count)
        appear(before, joined, word)
      }
      if (after !== undefined) {
        change(right, after, -count)
        appear(joined, after, word)
      }
      result.push(joined)
      place++
    }
    word.ids = result
  }

  for (const word of words) {
    for (let place = 0; place + 1 < word.ids.length; place++)
      appear(word.ids[place], word.ids[place + 1], word)
  }
  applyChanges()

  return {
    /** The most frequent pair, which is not offered again until its count changes. */
    takeBest(): [left: number, right: number] | undefined {
      for (let best = heapPop(waiting, isBetter); best; best = heapPop(waiting, isBetter)) {
        if (counts.get(best.pair) === best.count) return sides(best.pair)
      }
      return undefined
    },
    /** Puts `joined` for the pair, from left to right, in every word that has it. */
    merge(left: number, right: number, joined: number): void {
      for (const word of wordsWith.get(key(left, right)) ?? []) mergeIn(word, left, right, joined)
      wordsWith.delete(key(left, right))
      applyChanges()
    },
  }
}
