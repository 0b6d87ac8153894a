import { openByteSource } from "#platform"
import { FormatError } from "../ground/errors.ts"

/** The text of a file. Throws a LimnError where it cannot be opened, a FormatError where it is not UTF-8. */
export function readText(path: string): string {
  const source = openByteSource(path)
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(source.read(0, source.size))
  } catch (error) {
    if (error instanceof TypeError) throw new FormatError(`${path} is not UTF-8 text; fetch it again.`)
    throw error
  } finally {
    source.close()
  }
}

/** The value of a JSON file. Throws as `readText` does, and a FormatError where the text is not JSON. */
export function readJson(path: string): unknown {
  const text = readText(path)
  try {
    return JSON.parse(text)
  } catch (error) {
    if (error instanceof SyntaxError)
      throw new FormatError(`${path} is not valid JSON (${error.message}); fetch it again.`)
    throw error
  }
}
