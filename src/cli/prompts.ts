import { text } from "node:stream/consumers"
import { absolutePath, readText } from "#platform"
import { UsageError } from "../ground/errors.ts"

/** Where prompts come from when the arguments give none. */
export interface PromptSources {
  /** Path of a text file with a prompt in each line. */
  readonly file?: string
  readonly input?: NodeJS.ReadStream
}

/**
 * The prompts of a command line: words without quotes are one (`limn a red heart`), and where an argument has spaces,
 * and so was quoted, each argument is one. Without arguments they come from a file or else from standard input, a line
 * each, unless that is a terminal. Blank lines are passed over. Throws a UsageError where there is none, or where they
 * come from two places, a LimnError where there is no such file.
 */
export async function readPrompts(
  words: readonly string[],
  { file, input = process.stdin }: PromptSources = {},
): Promise<readonly string[]> {
  if (file !== undefined && words.length > 0)
    throw new UsageError(`--prompts gives what to draw, and so does ${JSON.stringify(words[0])}; give one.`)
  const lines = async () => {
    if (file !== undefined) return linesOf(await readText(absolutePath(file)))
    return input.isTTY ? [] : linesOf(await text(input))
  }
  const prompts = words.length > 0 ? promptsOf(words) : await lines()
  const given = prompts.map((prompt) => prompt.trim()).filter((prompt) => prompt !== "")
  if (given.length === 0 && file !== undefined)
    throw new UsageError(`There is no prompt in ${file}; write one in each line.`)
  if (given.length === 0)
    throw new UsageError(
      'There is no prompt; say what to draw, as in limn "a red heart" (more: limn --help).',
    )
  return given
}

function promptsOf(words: readonly string[]): readonly string[] {
  return words.some((word) => /\s/.test(word.trim())) ? words : [words.join(" ")]
}

function linesOf(content: string): readonly string[] {
  return content.replace(/^\ufeff/, "").split("\n")
}
