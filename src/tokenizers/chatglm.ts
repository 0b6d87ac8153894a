import { UsageError } from "../ground/errors.ts"
import { z } from "../ground/schema.ts"
import { addedTokensSchema, namedTokenSchema, readSettings, tokenFinder } from "./added-tokens.ts"
import { sentencePiece } from "./sentencepiece-bpe.ts"
import { type PieceKind, readSentencePieceModel, type SentencePieceModel } from "./sentencepiece-model.ts"

/** What a ChatGLM tokenizer folder holds: `tokenizer/` of Kolors-diffusers, `text_encoder/` of the original Kolors. */
export interface ChatGlmTokenizerFiles {
  /** tokenizer.model. */
  readonly model: Uint8Array
  /** tokenizer_config.json, parsed but not yet believed. */
  readonly config?: unknown
}

/** Text <-> the ids that ChatGLM3 takes as a text encoder. */
export interface ChatGlmTokenizer {
  /** Ids in a row unless another length is asked for, [gMASK] and sop among them: 256, as Kolors was trained. */
  readonly maxLength: number
  /** Rows that the embedding table must have: the highest id + 1. */
  readonly vocabSize: number
  /** Ids of a text of any length, without [gMASK] and sop. */
  encode(text: string): number[]
  /** One row of the text encoder's input: padding, [gMASK], sop, the ids that fit. UsageError for a length below 2. */
  tokenize(text: string, length?: number): ChatGlmRow
  /** The text that ids stand for, special tokens by their names. */
  decode(ids: readonly number[]): string
}

/** What `tokenize` returns: three rows of one length for the text encoder, and what did not fit into them. */
export interface ChatGlmRow {
  readonly ids: Int32Array
  /** 0 on the padding, 1 elsewhere. */
  readonly attentionMask: Int32Array
  /** 0 on the padding, then 0, 1, 2... from [gMASK] on. */
  readonly positionIds: Int32Array
  /** How many ids of the text did not fit. */
  readonly droppedCount: number
  /** The end of the text that did not fit, decoded; "" when all of it did. */
  readonly dropped: string
}

const MAX_LENGTH = 256

/** In the order in which their ids follow on those of tokenizer.model. */
const specialTokens = [
  "[MASK]",
  "[gMASK]",
  "[sMASK]",
  "sop",
  "eop",
  "<|system|>",
  "<|user|>",
  "<|assistant|>",
  "<|observation|>",
] as const

// In the order in which transformers adds them.
const namedTokensSchema = z.object({
  bos_token: namedTokenSchema,
  eos_token: namedTokenSchema,
  unk_token: namedTokenSchema,
  sep_token: namedTokenSchema,
  pad_token: namedTokenSchema,
  cls_token: namedTokenSchema,
  mask_token: namedTokenSchema,
})

const configSchema = z.object({ added_tokens_decoder: addedTokensSchema.default({}) })

/**
 * ChatGLM3's tokenizer as Kolors uses it, id for id `ChatGLMTokenizer` of diffusers on transformers 5: SentencePiece,
 * [gMASK] and sop before the text, padding on the left. Special tokens written in a text are text, but for those that
 * tokenizer_config.json lists.
 *
 * @throws FormatError where a file is not what it should be
 */
export function chatGlmTokenizerFrom(files: ChatGlmTokenizerFiles): ChatGlmTokenizer {
  const model = readSentencePieceModel(files.model)
  const { encode: encodePart, decode: decodePart } = sentencePiece(model)
  const base = model.pieces.length
  const idOf = (token: (typeof specialTokens)[number]) => base + specialTokens.indexOf(token)
  const prefix = [idOf("[gMASK]"), idOf("sop")]
  const added = readAddedTokens(files.config, model)
  // Of two tokens with one id transformers looks for the later; the other it knows only where nothing else stands.
  const found = new Map([...added].map(([text, id]) => [id, text]))
  const cut = tokenFinder([...found].map(([id, text]) => ({ id, text })))

  function encode(text: string): number[] {
    return cut(text).flatMap((part) =>
      typeof part === "object" ? part : (added.get(part) ?? encodePart(part)),
    )
  }

  function decode(ids: readonly number[]): string {
    let text = ""
    let start = 0
    for (const [at, id] of ids.entries()) {
      const special = specialTokens[id - base] ?? (id < base ? undefined : found.get(id))
      if (special === undefined) continue
      text += decodePart(ids.slice(start, at)) + special
      start = at + 1
    }
    return text + decodePart(ids.slice(start))
  }

  return {
    maxLength: MAX_LENGTH,
    vocabSize: Math.max(base + specialTokens.length, ...[...found.keys()].map((id) => id + 1)),
    encode,
    decode,
    tokenize(text, length = MAX_LENGTH) {
      if (!Number.isSafeInteger(length) || length < prefix.length)
        throw new UsageError(`A row of ${length} ids has no room for [gMASK] and sop; ask for 2 or more.`)
      const all = encode(text)
      const dropped = all.slice(length - prefix.length)
      const given = [...prefix, ...all].slice(0, length)
      const padding = length - given.length
      const ids = new Int32Array(length).fill(model.unknown)
      ids.set(given, padding)
      return {
        ids,
        attentionMask: new Int32Array(length).fill(1, padding),
        positionIds: Int32Array.from({ length }, (_, at) => Math.max(at - padding, 0)),
        droppedCount: dropped.length,
        dropped: decode(dropped),
      }
    },
  }
}

/**
 * The tokens that tokenizer_config.json has found wherever they stand in a text: those it lists with their ids, and the
 * special tokens it names. The latter get new ids where the vocabulary that transformers sees lacks them, counted from
 * its size; as it sees no unknown, beginning and end pieces, "</s>" gets the id of "<|assistant|>" there, and so here.
 */
function readAddedTokens(config: unknown, model: SentencePieceModel): Map<string, number> {
  const file = "tokenizer_config.json"
  const listed = readSettings(configSchema, config ?? {}, file).added_tokens_decoder
  const named = readSettings(namedTokensSchema, config ?? {}, file)
  const added = new Map(Object.entries(listed).map(([id, { content }]) => [content, Number(id)]))

  const seen = model.pieces.map(({ text, kind }) => (kind === "unknown" || isEdge(text, kind) ? "" : text))
  const vocabulary = new Map([...seen, ...specialTokens].map((text, id) => [text, id]))
  for (const [text, id] of added) vocabulary.set(text, id)
  for (const token of Object.values(named)) {
    const text = typeof token === "string" ? token : token?.content
    if (text === undefined || added.has(text)) continue
    const id = vocabulary.get(text) ?? vocabulary.size
    vocabulary.set(text, id)
    added.set(text, id)
  }
  return added
}

function isEdge(text: string, kind: PieceKind): boolean {
  return kind === "control" && (text === "<s>" || text === "</s>")
}
