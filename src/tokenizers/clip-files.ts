import { FormatError } from "../ground/errors.ts"
import { z } from "../ground/schema.ts"
import {
  type AddedToken,
  addedTokensSchema,
  type ForeignToken,
  namedTokenSchema,
  readSettings,
  tokenSchema,
} from "./added-tokens.ts"
import { byteTokens, marks, normaliseText } from "./clip-words.ts"

/** What a CLIP tokenizer folder holds: two JSON files or four, parsed but not yet believed, and the merges as text. */
export interface ClipTokenizerFiles {
  /** vocab.json: token -> id. */
  readonly vocab: unknown
  /** merges.txt: a version line, then one pair of tokens a line, the most frequent first. */
  readonly merges: string
  /** tokenizer_config.json. */
  readonly config?: unknown
  /** special_tokens_map.json; read only where the config has no `added_tokens_decoder`, as transformers does. */
  readonly specialTokens?: unknown
}

/** The four files, checked and reduced to what encoding needs. */
export interface ClipVocabulary {
  readonly idOf: ReadonlyMap<string, number>
  /** Pairs of ids to join and what they become, in the order of precedence. */
  readonly merges: readonly { readonly left: number; readonly right: number; readonly joined: number }[]
  readonly added: readonly AddedToken[]
  readonly bos: number
  readonly eos: number
  readonly pad: number
  /** Stands for a byte that the vocabulary lacks; a full vocabulary has all of them. */
  readonly unknown: number
  readonly maxLength: number
}

const specialTokensSchema = z.object({
  bos_token: namedTokenSchema,
  eos_token: namedTokenSchema,
  unk_token: namedTokenSchema,
  pad_token: namedTokenSchema,
})

const configSchema = specialTokensSchema.extend({
  model_max_length: z.number().min(3).optional(),
  added_tokens_decoder: addedTokensSchema.optional(),
})

/** CLIP has 77 positions; transformers writes 1e30 into the config for a length that nobody stated. */
const defaultMaxLength = 77
const statedMaxLength = 1e6

/**
 * Reads a CLIP tokenizer folder.
 *
 * Where the files contradict each other the last of bos, eos, unk, pad decides, as in transformers 5. One consequence
 * is seen in practice: SDXL's second tokenizer pads with "!", so every "!" in a prompt becomes that padding token.
 *
 * @throws FormatError naming the file and the first thing wrong in it
 */
export function readClipVocabulary(files: ClipTokenizerFiles): ClipVocabulary {
  const idOf = readVocab(files.vocab)
  const config = readSettings(configSchema, files.config ?? {}, "tokenizer_config.json")
  const decoder = config.added_tokens_decoder
  const special = decoder
    ? {}
    : readSettings(specialTokensSchema, files.specialTokens ?? {}, "special_tokens_map.json")

  const added = new Map<string, AddedToken>()
  const add = (token: ForeignToken, id: number) => {
    const text = token.normalized ? normaliseText(token.content) : token.content
    added.set(token.content, { id, text, normalized: token.normalized })
    return id
  }
  for (const [id, token] of Object.entries(decoder ?? {})) {
    const known = idOf.get(token.content)
    if (known !== undefined && known !== Number(id)) {
      throw new FormatError(
        `tokenizer_config.json gives "${token.content}" the id ${id}, but vocab.json gives it ${known}.`,
      )
    }
    add(token, Number(id))
  }

  const named = (name: keyof typeof specialTokensSchema.shape, fallback: string) => {
    const value = special[name] ?? config[name] ?? fallback
    const content = typeof value === "string" ? value : value.content
    const id = idOf.get(content) ?? added.get(content)?.id
    if (id === undefined) {
      throw new FormatError(
        `vocab.json has no token "${content}", which is the tokenizer's ${name}; is it the vocabulary of this model?`,
      )
    }
    if (typeof value !== "string") return add(value, id)
    return added.has(content) && decoder ? id : add(tokenSchema.parse({ content }), id)
  }
  // In this order: a later one says how a token that it shares with an earlier one is looked for.
  return {
    bos: named("bos_token", "<|startoftext|>"),
    eos: named("eos_token", "<|endoftext|>"),
    unknown: named("unk_token", "<|endoftext|>"),
    pad: named("pad_token", "<|endoftext|>"),
    idOf,
    merges: readMerges(files.merges, idOf),
    added: [...added.values()],
    maxLength: readMaxLength(config.model_max_length),
  }
}

/**
 * vocab.json as it follows from merges.txt: the bytes, one token for each merge, the marks. So it is for OpenAI's CLIP
 * and for what `learnClipBpe` learns.
 */
export function vocabFromMerges(merges: string): Record<string, number> {
  const [, ...lines] = merges.trim().split(/\r?\n/)
  const tokens = [...byteTokens, ...lines.map((line) => line.replace(" ", "")), ...marks]
  return Object.fromEntries(tokens.map((token, id) => [token, id]))
}

function readVocab(vocab: unknown): Map<string, number> {
  if (typeof vocab !== "object" || vocab === null || Array.isArray(vocab)) {
    throw new FormatError("vocab.json should be an object that gives each token its id.")
  }
  // By hand: zod takes as long over 49,408 numbers as all the rest of the loading.
  const idOf = new Map<string, number>()
  for (const [token, id] of Object.entries(vocab)) {
    if (typeof id !== "number" || !Number.isSafeInteger(id) || id < 0) {
      throw new FormatError(
        `vocab.json gives the token "${token}" the id ${JSON.stringify(id)}; ids count up from 0.`,
      )
    }
    idOf.set(token, id)
  }
  return idOf
}

function readMaxLength(stated: number | undefined): number {
  return stated === undefined || stated > statedMaxLength ? defaultMaxLength : Math.floor(stated)
}

function readMerges(text: string, idOf: ReadonlyMap<string, number>): ClipVocabulary["merges"] {
  const [version, ...lines] = text.trim().split(/\r?\n/)
  if (!version.includes("#version:")) {
    throw new FormatError(
      `merges.txt does not begin with a "#version:" line; is it the merges file of a CLIP tokenizer?`,
    )
  }
  return lines.map((line, index) => {
    const space = line.indexOf(" ")
    if (space <= 0 || space === line.length - 1 || line.includes(" ", space + 1)) {
      throw new FormatError(
        `merges.txt line ${index + 2} should be two tokens with a space between, not "${line}".`,
      )
    }
    const idIn = (token: string) => {
      const id = idOf.get(token)
      if (id !== undefined) return id
      throw new FormatError(
        `merges.txt line ${index + 2} needs the token "${token}", which vocab.json lacks; are the two of one model?`,
      )
    }
    const left = line.slice(0, space)
    const right = line.slice(space + 1)
    return { left: idIn(left), right: idIn(right), joined: idIn(left + right) }
  })
}
