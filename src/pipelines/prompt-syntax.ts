/** How a prompt is read: every character as it stands, or with the weights of web tools. */
export type PromptSyntax = "plain" | "weighted"

/** A part of a prompt, and how strongly its words are to be heeded; 1 is as usual. */
export interface PromptPart {
  readonly text: string
  readonly weight: number
}

/** What round brackets multiply a weight by, and what square ones divide it by. */
const BRACKET = 1.1

/** Beyond it lie only the overflow of float16 and pictures of noise. */
const MOST_WEIGHT = 1000

/** An escape, a bracket, the number that closes a round bracket, a colon, or the text up to the next of them. */
const token = /\\[()[\]\\]|\\|[([]|:\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+))\s*\)|[)\]]|[^\\()[\]:]+|:/g

/** In no other word: Python's word boundary, which knows all letters. */
const chunkBreak = /(?<![\p{L}\p{M}\p{N}_])BREAK(?![\p{L}\p{M}\p{N}_])/u

/**
 * The weights in a prompt, as AUTOMATIC1111's web UI reads them (`parse_prompt_attention`):
 *
 *   (word)      1.1 times, ((word)) 1.21 times, and so on
 *   [word]      1.1 times less
 *   (word:1.3)  1.3 times
 *   \( \) \[ \] \\   the character itself
 *   BREAK       the end of a chunk
 *
 * The result has a list of parts for each section between BREAKs, neighbours of one weight joined. What is not closed
 * reaches to the end, and whatever else makes no sense is text, so that no prompt is wrong. Weights that overflow are
 * kept within 1000. There are no other schedules ("[a:b:0.5]") or prompts joined by AND here: they are text.
 */
export function parseWeights(prompt: string): PromptPart[][] {
  const parts: { text: string; weight: number; section: number }[] = []
  const opened: { round: number[]; square: number[] } = { round: [], square: [] }
  let section = 0
  const weigh = (start: number, factor: number) => {
    for (const part of parts.slice(start)) part.weight *= factor
  }
  for (const [found, number] of prompt.matchAll(token)) {
    const { round, square } = opened
    if (found === "(") round.push(parts.length)
    else if (found === "[") square.push(parts.length)
    else if (number !== undefined && round.length > 0) weigh(round.pop()!, Number(number))
    else if (found === ")" && round.length > 0) weigh(round.pop()!, BRACKET)
    else if (found === "]" && square.length > 0) weigh(square.pop()!, 1 / BRACKET)
    else if (found.startsWith("\\")) parts.push({ text: found.slice(-1), weight: 1, section })
    else
      for (const [i, text] of found.split(chunkBreak).entries()) {
        // The spaces around a BREAK go with it.
        if (i > 0) parts[parts.length - 1].text = parts[parts.length - 1].text.trimEnd()
        parts.push({ text: i > 0 ? text.trimStart() : text, weight: 1, section: i > 0 ? ++section : section })
      }
  }
  for (const start of opened.round) weigh(start, BRACKET)
  for (const start of opened.square) weigh(start, 1 / BRACKET)

  const sections = Array.from({ length: section + 1 }, (): PromptPart[] => [])
  for (const { text, weight, section } of parts) {
    const joined = sections[section]
    const last = joined.at(-1)
    if (last?.weight === weight) joined[joined.length - 1] = { text: last.text + text, weight }
    else joined.push({ text, weight })
  }
  return sections.map((joined) => joined.map(({ text, weight }) => ({ text, weight: bounded(weight) })))
}

/** A text as the weighted syntax writes it so that nothing in it weighs: brackets behind backslashes. */
export function escapeWeights(text: string): string {
  return text.replace(/[\\()[\]]/g, "\\$&")
}

/** A prompt's sections, by the syntax that it is read in. */
export function promptSections(prompt: string, syntax: PromptSyntax): readonly (readonly PromptPart[])[] {
  return syntax === "weighted" ? parseWeights(prompt) : [[{ text: prompt, weight: 1 }]]
}

function bounded(weight: number): number {
  return Math.max(-MOST_WEIGHT, Math.min(MOST_WEIGHT, weight))
}
