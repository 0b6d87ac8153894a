/** Anything limn knows to be wrong: one sentence that says what is wrong and what to do. Exit code 1. */
export class LimnError extends Error {
  override name = "LimnError"
}

/** The caller asked for something that cannot be: an unknown option, a width not divisible by 8. Exit code 2. */
export class UsageError extends LimnError {
  override name = "UsageError"
}

/** A file is not what it claims to be. The message names the file and the first thing found wrong in it. */
export class FormatError extends LimnError {
  override name = "FormatError"
}

/** The message of anything thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
