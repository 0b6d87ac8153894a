import type { Tokenizer } from "../tokenizers/clip-bpe.ts"
import type { PromptPart } from "./prompt-syntax.ts"

/** One row of a text encoder's input, and the weight of each of its places. */
export interface PromptChunk {
  readonly ids: readonly number[]
  /** 1 for the marks and the padding. */
  readonly weights: readonly number[]
}

/** The share of a chunk, from its end, in which a comma is looked for: 20 of CLIP's 75 words. */
const COMMA_SHARE = 20 / 75

/**
 * A prompt of any length as rows of the text encoder's input, cut as AUTOMATIC1111's web UI does: each section begins a
 * row, and a row that is full ends after its last comma, if that is near, so that what commas enclose stays together.
 * Even an empty prompt is one row.
 */
export function promptChunks(
  tokenizer: Tokenizer,
  sections: readonly (readonly PromptPart[])[],
): PromptChunk[] {
  const [comma] = tokenizer.encode(",")
  const most = tokenizer.maxLength - 2
  return sections.flatMap((parts, i) => {
    const tokens = parts.flatMap(({ text, weight }) =>
      tokenizer.encode(text).map((id): Token => ({ id, weight })),
    )
    // A BREAK at the very end breaks nothing.
    if (tokens.length === 0 && i > 0 && i === sections.length - 1) return []
    const chunks: PromptChunk[] = []
    let start = 0
    do {
      const end = chunkEnd(tokens, start, most, comma)
      chunks.push(chunkOf(tokenizer, tokens.slice(start, end)))
      start = end
    } while (start < tokens.length)
    return chunks
  })
}

interface Token {
  readonly id: number
  readonly weight: number
}

function chunkOf(tokenizer: Tokenizer, tokens: readonly Token[]): PromptChunk {
  const ids = tokenizer.row(tokens.map(({ id }) => id))
  return { ids, weights: ids.map((_, place) => tokens[place - 1]?.weight ?? 1) }
}

/** Where the chunk ends that begins at `start`. */
function chunkEnd(tokens: readonly Token[], start: number, most: number, comma: number): number {
  const full = start + most
  if (tokens.length <= full) return tokens.length
  if (tokens[full].id === comma) return full
  const last = tokens.slice(0, full).findLastIndex(({ id }) => id === comma)
  return last < full - Math.floor(most * COMMA_SHARE) ? full : last + 1
}
