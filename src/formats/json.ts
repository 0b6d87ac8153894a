import { FormatError } from "../ground/errors.ts"

/** A JSON value whose objects are maps, so that no member's name (`__proto__`) means anything to JavaScript. */
export type Json = null | boolean | number | string | readonly Json[] | ReadonlyMap<string, Json>

/** Deeper nesting than any header has, and far from the end of the stack. */
const MAX_DEPTH = 32

const SPACES = " \t\n\r"
const ENDS_OF_SCALAR = `${SPACES},:{}[]"`

/**
 * Strict JSON in which no object names a member twice; `JSON.parse` would keep the last one in silence. Throws a
 * FormatError that begins with `what`, as in "The header of model.safetensors".
 */
export function parseJson(text: string, what: string): Json {
  let at = 0

  const missing = (thing: string) =>
    new FormatError(`${what} is not valid JSON: ${thing} is missing at character ${at + 1}.`)
  const skipSpaces = () => {
    while (at < text.length && SPACES.includes(text[at])) at++
  }
  const take = (mark: string): boolean => {
    skipSpaces()
    if (text[at] !== mark) return false
    at++
    return true
  }
  const expect = (mark: string) => {
    if (!take(mark)) throw missing(`"${mark}"`)
  }

  /** Only the structure is read here; strings, numbers and words are left to `JSON.parse`. */
  const scalar = (): string | number | boolean | null => {
    const start = at
    if (text[at] === '"') at = endOfString(text, at)
    else while (at < text.length && !ENDS_OF_SCALAR.includes(text[at])) at++
    try {
      return JSON.parse(text.slice(start, at))
    } catch {
      at = start
      throw missing("a value")
    }
  }

  const array = (depth: number): Json => {
    const elements: Json[] = []
    if (take("]")) return elements
    do elements.push(value(depth))
    while (take(","))
    expect("]")
    return elements
  }

  const object = (depth: number): Json => {
    const members = new Map<string, Json>()
    if (take("}")) return members
    do {
      skipSpaces()
      if (text[at] !== '"') throw missing("a name in quotes")
      const name = String(scalar())
      if (members.has(name)) throw new FormatError(`${what} has the name ${quoted(name)} twice.`)
      expect(":")
      members.set(name, value(depth))
    } while (take(","))
    expect("}")
    return members
  }

  const value = (depth: number): Json => {
    if (depth > MAX_DEPTH) throw new FormatError(`${what} nests its values more than ${MAX_DEPTH} deep.`)
    if (take("{")) return object(depth + 1)
    if (take("[")) return array(depth + 1)
    return scalar()
  }

  const result = value(0)
  skipSpaces()
  if (at < text.length) throw missing("the end")
  return result
}

/** Text from a file as error messages show it: in quotes, escaped, and cut where it is long. */
export function quoted(text: string): string {
  return JSON.stringify(clipped(text))
}

/** The beginning of a text that may be of any length. */
export function clipped(text: string): string {
  return text.length > 100 ? `${text.slice(0, 100)}...` : text
}

/** Where the string that opens at `start` ends: after its closing quote, or at the end of the text. */
function endOfString(text: string, start: number): number {
  let quote = start
  for (;;) {
    quote = text.indexOf('"', quote + 1)
    if (quote < 0) return text.length
    let backslashes = 0
    while (text[quote - 1 - backslashes] === "\\") backslashes++
    if (backslashes % 2 === 0) return quote + 1
  }
}
