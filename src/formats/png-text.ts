import { strFromU8 } from "fflate"
import { FormatError, LimnError } from "../ground/errors.ts"
import { quoted } from "./json.ts"
import type { PngChunk } from "./png-chunks.ts"
import { concatBytes, inflate, readChunks } from "./png-chunks.ts"

/** What one packed text may unpack to. Whole workflows, the largest texts that tools store, take a few megabytes. */
const MAX_TEXT_BYTES = 2 ** 24

/** What PNG allows in a keyword: printable Latin-1, no space at either end, none after another. */
const KEYWORD = /^(?! )(?!.* {2})[\x20-\x7e\xa1-\xff]{1,79}(?<! )$/
/** What PNG allows in tEXt: printable Latin-1 and line feeds. */
const LATIN1_TEXT = /^[\n\x20-\x7e\xa0-\xff]*$/

const utf8 = new TextEncoder()

/**
 * The chunk that keeps a text under a keyword, unpacked so that every reader finds it: tEXt where Latin-1 holds the
 * text, else iTXt in UTF-8. Throws a LimnError where PNG cannot hold the keyword, or the text has a NUL.
 */
export function textChunk(keyword: string, text: string): PngChunk {
  if (!KEYWORD.test(keyword))
    throw new LimnError(
      `PNG cannot hold the keyword ${quoted(keyword)}: it takes 1 to 79 printable Latin-1 characters with single spaces between.`,
    )
  if (text.includes("\0"))
    throw new LimnError(`PNG cannot hold the text of ${quoted(keyword)}: it contains a NUL.`)
  if (LATIN1_TEXT.test(text)) return { type: "tEXt", data: latin1Bytes(`${keyword}\0${text}`) }
  // Not compressed, no language, no translated keyword.
  return { type: "iTXt", data: concatBytes([latin1Bytes(`${keyword}\0\0\0\0\0`), utf8.encode(text)]) }
}

/**
 * The texts of a PNG file by their keywords, from tEXt, zTXt and iTXt chunks; of several under one keyword, the last.
 * Throws a FormatError, in which the file is called `name`, where the file or one of them is damaged.
 */
export function readPngText(bytes: Uint8Array, name = "The picture"): Record<string, string> {
  const texts = new Map<string, string>()
  for (const { type, data } of readChunks(bytes, name)) {
    if (type !== "tEXt" && type !== "zTXt" && type !== "iTXt") continue
    const [keyword, text] = readText(type, data, name)
    texts.set(keyword, text)
  }
  return Object.fromEntries(texts)
}

function readText(
  type: "tEXt" | "zTXt" | "iTXt",
  data: Uint8Array,
  name: string,
): [keyword: string, text: string] {
  let rest = data
  const upToNul = (): Uint8Array => {
    const end = rest.indexOf(0)
    if (end < 0) throw new FormatError(`${name} has a ${type} chunk without its parts: it is damaged.`)
    const part = rest.subarray(0, end)
    rest = rest.subarray(end + 1)
    return part
  }
  const nextByte = (): number | undefined => {
    const byte = rest[0]
    rest = rest.subarray(1)
    return byte
  }

  const keyword = latin1(upToNul())
  const unpacked = (packed: Uint8Array) =>
    inflate(packed, MAX_TEXT_BYTES, `The text ${quoted(keyword)} of ${name}`)
  if (type === "tEXt") return [keyword, latin1(rest)]
  const compressed = type === "zTXt" || nextByte() === 1
  const method = nextByte()
  if (compressed && method !== 0)
    throw new FormatError(
      `${name} has its text ${quoted(keyword)} packed by method ${method}, which PNG has not.`,
    )
  if (type === "zTXt") return [keyword, latin1(unpacked(rest))]
  upToNul() // the language
  upToNul() // the keyword in that language
  return [keyword, new TextDecoder("utf-8", { ignoreBOM: true }).decode(compressed ? unpacked(rest) : rest)]
}

/** Not by TextDecoder, whose "latin1" is Windows-1252. */
function latin1(bytes: Uint8Array): string {
  return strFromU8(bytes, true)
}

function latin1Bytes(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0))
}
