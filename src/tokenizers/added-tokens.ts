import { FormatError } from "../ground/errors.ts"
import { z } from "../ground/schema.ts"

/** A token found in the prompt as it stands, before any word is cut. */
export interface AddedToken {
  readonly id: number
  /** How many ids it stands for, counted up from `id`; 1 where nothing is said. */
  readonly count?: number
  /** What is looked for, and what it decodes to. */
  readonly text: string
  /** Looked for in the normalised text; otherwise in the text as typed. */
  readonly normalized: boolean
}

/** transformers can also let a token swallow the white space around it; no tokenizer read here does, so it is refused. */
export const tokenSchema = z.object({
  content: z.string().min(1),
  normalized: z.boolean().default(false),
  lstrip: z.literal(false).default(false),
  rstrip: z.literal(false).default(false),
  single_word: z.literal(false).default(false),
})

/** A special token under its name: as text alone, or with how it is looked for. */
export const namedTokenSchema = z.union([z.string().min(1), tokenSchema]).nullish()

/** `added_tokens_decoder` of tokenizer_config.json: id -> token. */
export const addedTokensSchema = z.record(z.string().regex(/^\d+$/), tokenSchema)

/** A token as the settings write it. */
export type ForeignToken = z.infer<typeof tokenSchema>

/** The settings in `file`, checked; FormatError naming the file and the first thing wrong in it. */
export function readSettings<T>(schema: z.ZodType<T>, value: unknown, file: string): T {
  const result = schema.safeParse(value)
  if (result.success) return result.data
  const { path, message } = result.error.issues[0]
  const place = path.length === 0 ? "" : ` at ${path.join(".")}`
  throw new FormatError(`${file} is not what a tokenizer's folder holds${place}: ${message}.`)
}

/** Cuts a text at added tokens, the longest where several begin at one place: their ids, and the text between. */
export function tokenFinder(
  tokens: readonly Omit<AddedToken, "normalized">[],
): (text: string) => (readonly number[] | string)[] {
  if (tokens.length === 0) return (text) => [text]
  const idsOf = new Map(
    tokens.map(({ text, id, count = 1 }) => [text, Array.from({ length: count }, (_, k) => id + k)]),
  )
  const alternatives = [...idsOf.keys()]
    .sort((a, b) => b.length - a.length)
    .map((text) => text.replace(/[\\^$.*+?()[\]{}|]/g, "\\$&"))
  const pattern = new RegExp(`(${alternatives.join("|")})`, "u")
  return (text) => text.split(pattern).map((piece, index) => (index % 2 === 1 ? idsOf.get(piece)! : piece))
}
