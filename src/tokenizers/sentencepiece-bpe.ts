import { UsageError } from "../ground/errors.ts"
import { tokenFinder } from "./added-tokens.ts"
import { mergeSymbols } from "./merge-symbols.ts"
import type { SentencePieceModel } from "./sentencepiece-model.ts"

/** Text <-> ids of a SentencePiece model, without beginning and end. */
export interface SentencePiece {
  /** Ids of a text of any length; none for "". Half of a surrogate pair is read as U+FFFD. */
  encode(text: string): number[]
  /** The text that ids stand for, without the space before it: bytes that are no UTF-8 as U+FFFD, unknown as " ⁇ ". */
  decode(ids: readonly number[]): string
}

const SPACE = "▁"
const UNKNOWN = " ⁇ "

/** SentencePiece's BPE over a model, id for id what `SentencePieceProcessor` makes of the same file. */
export function sentencePiece(model: SentencePieceModel): SentencePiece {
  const { pieces, unknown } = model
  const idOf = new Map(pieces.map(({ text }, id) => [text, id]))
  const joinable = pieces.filter(({ kind }) => kind === "normal")
  const mergeOf = new Map(joinable.map(({ text, score }) => [text, { symbol: text, rank: -score }]))
  const cut = tokenFinder(
    pieces.flatMap(({ text, kind }, id) => (kind === "userDefined" ? { text, id } : [])),
  )

  function pushIds(ids: number[], symbol: string): void {
    const id = idOf.get(symbol) ?? unknown
    if (id !== unknown) ids.push(id)
    else if (model.bytes) for (const byte of encoder.encode(symbol)) ids.push(model.bytes[byte])
    // A run of unknown characters is one unknown piece.
    else if (ids.at(-1) !== unknown) ids.push(unknown)
  }

  return {
    encode(text) {
      if (text === "") return []
      const escaped =
        (model.dummyPrefix ? SPACE : "") + text.replace(/\p{Cs}/gu, "\ufffd").replaceAll(" ", SPACE)
      const ids: number[] = []
      for (const part of cut(escaped)) {
        if (typeof part === "object") ids.push(...part)
        else {
          const symbols = mergeSymbols([...part], (left, right) => mergeOf.get(left + right))
          for (const symbol of symbols) pushIds(ids, symbol)
        }
      }
      return ids
    },
    decode: (ids) => decode(model, ids),
  }
}

const encoder = new TextEncoder()
const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

function decode({ pieces, dummyPrefix }: SentencePieceModel, ids: readonly number[]): string {
  let text = ""
  let atStart = dummyPrefix
  const bytes: number[] = []
  const endBytes = () => {
    if (bytes.length > 0) text += textOfBytes(bytes.splice(0))
    if (text !== "") atStart = false
  }
  for (const id of ids) {
    const piece = pieces[id]
    if (piece === undefined) throw new UsageError(`The tokenizer has no token ${id}.`)
    if (piece.kind === "byte") {
      bytes.push(Number.parseInt(piece.text.slice(3, 5), 16))
      continue
    }
    endBytes()
    if (piece.kind === "unknown") text += UNKNOWN
    else if (piece.kind !== "control") {
      const prefixed = atStart && piece.text.startsWith(SPACE)
      text += (prefixed ? piece.text.slice(SPACE.length) : piece.text).replaceAll(SPACE, " ")
      if (prefixed) atStart = false
    }
  }
  endBytes()
  return text
}

/** UTF-8 as SentencePiece reads it: U+FFFD for each byte that begins no character, where a TextDecoder joins some. */
function textOfBytes(bytes: readonly number[]): string {
  let text = ""
  for (let at = 0; at < bytes.length; ) {
    const length = bytes[at] < 0x80 ? 1 : bytes[at] < 0xe0 ? 2 : bytes[at] < 0xf0 ? 3 : 4
    try {
      text += decoder.decode(Uint8Array.from(bytes.slice(at, at + length)))
      at += length
    } catch {
      text += "\ufffd"
      at += 1
    }
  }
  return text
}
