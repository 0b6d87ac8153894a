import { readText } from "#platform"
import { FormatError } from "../ground/errors.ts"

/** The value of a JSON file. Throws a LimnError where there is none, a FormatError where the text is not JSON. */
export async function readJson(path: string): Promise<unknown> {
  const text = await readText(path)
  try {
    return parsePythonJson(text)
  } catch (error) {
    if (error instanceof SyntaxError)
      throw new FormatError(`${path} is not valid JSON (${error.message}); fetch it again.`)
    throw error
  }
}

/** The value of a JSON file that is an object. Throws as `readJson` does, and a FormatError where it is another value. */
export async function readJsonObject(path: string): Promise<Readonly<Record<string, unknown>>> {
  const json = await readJson(path)
  if (typeof json === "object" && json !== null && !Array.isArray(json)) return { ...json }
  throw new FormatError(`${path} is not a JSON object; fetch it again.`)
}

const specials: Readonly<Record<string, string>> = { NaN: "null", Infinity: "1e999", "-Infinity": "-1e999" }

/** A string, which stays, or one of the numbers that Python writes and JSON does not have. */
const stringOrSpecial = /"(?:[^"\\]|\\.)*"|-?Infinity|NaN/g

/**
 * The value of a JSON text as Python writes it: with -Infinity, as in the published configurations of DPM-Solver,
 * Infinity, and NaN, which is read as null. Throws a SyntaxError.
 */
export function parsePythonJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    return JSON.parse(
      // Too large a number is infinite to JSON.parse.
      text.replace(stringOrSpecial, (found) => specials[found] ?? found),
    )
  }
}

/** The name of a file or folder without the way to it, whatever system wrote the path. */
export function lastPart(path: string): string {
  return path.split(/[\\/]/).at(-1) ?? path
}
