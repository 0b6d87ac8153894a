import { text } from "node:stream/consumers"
import { UsageError } from "../ground/errors.ts"

/**
 * The prompts of a command line: words without quotes are one (`limn a red heart`), and where an argument has spaces,
 * and so was quoted, each argument is one. Without arguments they come from standard input, a line each, unless that
 * is a terminal. Throws a UsageError where there is none.
 */
export async function readPrompts(
  words: readonly string[],
  input: NodeJS.ReadStream = process.stdin,
): Promise<readonly string[]> {
  const prompts = words.length > 0 ? promptsOf(words) : input.isTTY ? [] : linesOf(await text(input))
  const given = prompts.map((prompt) => prompt.trim()).filter((prompt) => prompt !== "")
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
