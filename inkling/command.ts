import { messageOf, UsageError } from "../src/ground/errors.ts"

/** Runs a script: what goes wrong is one sentence on stderr, and exit code 2 for wrong usage, 1 for failure. */
export function runCommand(main: () => Promise<void>): void {
  main().catch((error: unknown) => {
    console.error(messageOf(error))
    process.exitCode = error instanceof UsageError ? 2 : 1
  })
}

/** A number from the command line, or undefined where it was not given. Throws a UsageError for what is no number. */
export function numberFrom(text: string | undefined, option: string): number | undefined {
  if (text === undefined) return undefined
  const number = Number(text)
  if (text.trim() === "" || !Number.isFinite(number))
    throw new UsageError(`${option} takes a number, not "${text}".`)
  return number
}
