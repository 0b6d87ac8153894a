import { type WireField, wireFields } from "../formats/protobuf-reader.ts"
import { FormatError } from "../ground/errors.ts"

/** A tokenizer.model of SentencePiece, checked and reduced to what encoding and decoding need. */
export interface SentencePieceModel {
  /** By id. */
  readonly pieces: readonly Piece[]
  /** The id of the piece that stands for what no other one spells. */
  readonly unknown: number
  /** The ids of the 256 byte pieces, with which unknown characters are spelled; undefined where the model has none. */
  readonly bytes: readonly number[] | undefined
  /** Whether a space is put before every text. */
  readonly dummyPrefix: boolean
}

/** One entry of the vocabulary. */
export interface Piece {
  /** Never empty; spaces are written "▁" (U+2581). No two pieces are alike. */
  readonly text: string
  /** The higher, the earlier two neighbours become this piece. */
  readonly score: number
  readonly kind: PieceKind
}

/** Control pieces are never made from text; user-defined ones are cut out of it before anything is joined. */
export type PieceKind = "normal" | "unknown" | "control" | "userDefined" | "byte"

/** By number in the file; pieces struck from a vocabulary, number 5, are found in no published model. */
const kinds: readonly (PieceKind | undefined)[] = [
  undefined,
  "normal",
  "unknown",
  "control",
  "userDefined",
  undefined,
  "byte",
]

const BPE = 2

/** What of TrainerSpec and NormalizerSpec bears on encoding; here with protobuf's defaults. */
const unstated = {
  modelType: 1,
  byteFallback: false,
  spaceAsSuffix: false,
  characterMap: false,
  dummyPrefix: true,
  removeSpaces: true,
  escapeSpaces: true,
}

/**
 * Reads a BPE model of SentencePiece (`sentencepiece_model.proto`, ModelProto).
 *
 * @param file what to call the file in errors
 * @throws FormatError where the bytes are no such model, or where the model rewrites its text before cutting it, as
 *   ChatGLM's does not
 */
export function readSentencePieceModel(bytes: Uint8Array, file = "tokenizer.model"): SentencePieceModel {
  const pieces: Piece[] = []
  const spec = { ...unstated }
  for (const { field, kind, value } of wireFields(bytes, file)) {
    if (field > 3) continue
    if (kind !== "bytes") throw new FormatError(`${file} is no SentencePiece model; is it the file itself?`)
    if (field === 1) pieces.push(readPiece(value, pieces.length, file))
    else if (field === 2) readTrainerSpec(value, spec, file)
    else readNormalizerSpec(value, spec, file)
  }
  if (pieces.length === 0) throw new FormatError(`${file} holds no pieces; is it a SentencePiece model?`)
  checkSpec(spec, file)
  const idOf = new Map(pieces.map(({ text }, id) => [text, id]))
  if (idOf.size < pieces.length) {
    const twice = pieces.find(({ text }, id) => idOf.get(text) !== id)
    throw new FormatError(`${file} has the piece ${JSON.stringify(twice?.text)} twice.`)
  }
  const unknown = pieces.findIndex(({ kind }) => kind === "unknown")
  if (unknown === -1 || pieces.some(({ kind }, id) => kind === "unknown" && id !== unknown))
    throw new FormatError(`${file} should have one piece for what is unknown, not none or several.`)
  return {
    pieces,
    unknown,
    bytes: spec.byteFallback ? bytePieces(pieces, idOf, file) : undefined,
    dummyPrefix: spec.dummyPrefix,
  }
}

function bytePieces(pieces: readonly Piece[], idOf: ReadonlyMap<string, number>, file: string): number[] {
  return Array.from({ length: 256 }, (_, byte) => {
    const text = bytePiece(byte)
    const id = idOf.get(text)
    if (id === undefined || pieces[id].kind !== "byte")
      throw new FormatError(`${file} spells unknown characters in bytes but has no byte piece ${text}.`)
    return id
  })
}

/** The piece that stands for a byte: <0x00> to <0xFF>. */
function bytePiece(byte: number): string {
  return `<0x${byte.toString(16).toUpperCase().padStart(2, "0")}>`
}

function readPiece(message: Uint8Array, id: number, file: string): Piece {
  let text = ""
  let score = 0
  let kind: PieceKind | undefined = "normal"
  for (const entry of wireFields(message, file)) {
    if (entry.field === 1 && entry.kind === "bytes") text = utf8(entry.value, id, file)
    else if (entry.field === 2 && entry.kind === "float") score = entry.value
    else if (entry.field === 3 && entry.kind === "integer") kind = kinds[entry.value]
    else if (entry.field <= 3)
      throw new FormatError(`${file} is no SentencePiece model: piece ${id} is none; is it the file itself?`)
  }
  if (text === "") throw new FormatError(`${file} has an empty piece, ${id}.`)
  if (!Number.isFinite(score)) throw new FormatError(`${file} gives piece ${id} the score ${score}.`)
  if (kind === undefined)
    throw new FormatError(`${file} has a piece of a kind that limn does not know, ${id} (${text}).`)
  return { text, score, kind }
}

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })

function utf8(bytes: Uint8Array, id: number, file: string): string {
  try {
    return decoder.decode(bytes)
  } catch {
    throw new FormatError(`${file} has a piece that is no UTF-8, ${id}; download it again.`)
  }
}

function readTrainerSpec(message: Uint8Array, spec: typeof unstated, file: string): void {
  for (const entry of wireFields(message, file)) {
    if (entry.field === 3) spec.modelType = integer(entry, file)
    else if (entry.field === 24) spec.spaceAsSuffix = integer(entry, file) !== 0
    else if (entry.field === 35) spec.byteFallback = integer(entry, file) !== 0
  }
}

function readNormalizerSpec(message: Uint8Array, spec: typeof unstated, file: string): void {
  for (const entry of wireFields(message, file)) {
    if (entry.field === 2) spec.characterMap = entry.kind !== "bytes" || entry.value.length > 0
    else if (entry.field === 3) spec.dummyPrefix = integer(entry, file) !== 0
    else if (entry.field === 4) spec.removeSpaces = integer(entry, file) !== 0
    else if (entry.field === 5) spec.escapeSpaces = integer(entry, file) !== 0
  }
}

function integer(entry: WireField, file: string): number {
  if (entry.kind === "integer") return entry.value
  throw new FormatError(`${file} is no SentencePiece model: setting ${entry.field} is no integer.`)
}

function checkSpec(spec: typeof unstated, file: string): void {
  if (spec.modelType !== BPE)
    throw new FormatError(`${file} is no BPE model of SentencePiece (type ${spec.modelType}, not ${BPE}).`)
  const rewrites = [
    spec.characterMap && "replaces characters",
    spec.removeSpaces && "removes repeated spaces",
    !spec.escapeSpaces && "keeps spaces as they are",
    spec.spaceAsSuffix && "puts spaces at the end of words",
  ].find((rewrite) => rewrite !== false)
  if (rewrites !== undefined)
    throw new FormatError(
      `${file} ${rewrites} before it cuts a text, as ChatGLM's does not; limn reads models like ChatGLM's only.`,
    )
}
