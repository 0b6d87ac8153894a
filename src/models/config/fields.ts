import { z } from "zod"
import { FormatError } from "../../ground/errors.ts"

/** Every schema message is the second half of a sentence: what limn needs or supports. */
const needs = (what: string) => ({ error: `limn needs ${what}` })

export const boolean = z.boolean(needs("true or false"))
export const positiveInteger = z.int(needs("a positive integer")).positive(needs("a positive integer"))
export const nonNegativeInteger = z
  .int(needs("0 or a positive integer"))
  .nonnegative(needs("0 or a positive integer"))
export const finiteNumber = z.number(needs("a number"))
export const positiveNumber = z.number(needs("a positive number")).positive(needs("a positive number"))

/** A list with one entry for each block, outermost block first. */
export function listOf<T extends z.ZodType>(item: T) {
  return z.array(item, needs("a list with one entry for each block")).min(1, needs("at least one block"))
}

/** One value for every block, or a list with one entry for each. */
export function perBlock<T extends z.ZodType>(item: T) {
  return z.union([item, z.array(item)], needs("one value, or a list with one for each block"))
}

/** A picture size: one number for a square, or `[height, width]`; null where the checkpoint does not say. */
export const sampleSize = z.union(
  [positiveInteger.transform((n) => [n, n] as const), z.tuple([positiveInteger, positiveInteger]).readonly()],
  needs("one size in pixels, or [height, width]"),
)

/** A key that other checkpoints set to values for which limn has no forward pass. */
export function oneOf<const V extends readonly [z.core.util.Literal, ...z.core.util.Literal[]]>(
  ...values: V
) {
  const supported = values.map((value) => JSON.stringify(value)).join(" or ")
  return z.literal(values, { error: `limn supports ${supported}` })
}

/** A FormatError about one key: `unet/config.json: "act_fn" is "mish"; limn supports "silu".` */
export function keyError(source: string, key: string, value: unknown, clause: string): FormatError {
  return new FormatError(`${source}: "${key}" is ${JSON.stringify(value)}; ${clause}.`)
}

/**
 * Reads a configuration by its schema; keys that the schema does not name are ignored.
 * `model` is the class that the file should describe, for the message about a missing key.
 * Throws a FormatError that names the source, the first offending key, its value and what is supported.
 */
export function readConfig<T extends z.ZodType>(
  schema: T,
  json: unknown,
  source: string,
  model: string,
): z.output<T> {
  const result = schema.safeParse(json, { reportInput: true })
  if (result.success) return result.data
  const issue = result.error.issues[0]
  const key = issue.path.join(".")
  if (key === "")
    throw new FormatError(`${source} is not a JSON object; limn needs the config.json of a ${model}.`)
  if (issue.input === undefined)
    throw new FormatError(`${source} has no "${key}"; limn needs the config.json of a ${model}.`)
  throw keyError(source, key, issue.input, issue.message)
}

/** Expands what `perBlock` read into one value for each of `count` blocks. */
export function expand<T>(value: T | readonly T[], count: number, key: string, source: string): readonly T[] {
  if (!Array.isArray(value)) return new Array<T>(count).fill(value as T)
  if (value.length !== count)
    throw keyError(source, key, value, `limn needs one value, or a list of ${count}, one for each block`)
  return value
}
