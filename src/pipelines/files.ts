import { readText } from "#platform"
import { FormatError } from "../ground/errors.ts"

/** The value of a JSON file. Throws a LimnError where there is none, a FormatError where the text is not JSON. */
export async function readJson(path: string): Promise<unknown> {
  const text = await readText(path)
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError)
      throw new FormatError(`${path} is not valid JSON (${error.message}); fetch it again.`)
    throw error
  }
}
