import { FormatError } from "../../ground/errors.ts"
import { z } from "../../ground/schema.ts"

/** Every schema's message is the second half of a sentence: what limn needs or supports. */
const needs = (what: string) => ({ error: `limn needs ${what}` })

export const boolean = z.boolean(needs("true or false"))
export const positiveInteger = z.int(needs("a positive integer")).positive(needs("a positive integer"))
export const wholeNumber = z
  .int(needs("0 or a positive integer"))
  .nonnegative(needs("0 or a positive integer"))
export const finiteNumber = z.number(needs("a number"))
export const positiveNumber = z.number(needs("a positive number")).positive(needs("a positive number"))
export const jsonObject = z.looseObject({}, needs("a JSON object"))

/** A size in pixels: one number for a square, or `[height, width]`. */
export const sampleSize = z.union(
  [positiveInteger.transform((n) => [n, n] as const), z.tuple([positiveInteger, positiveInteger]).readonly()],
  needs("one size, or [height, width]"),
)

/** A list with one entry for each block, outermost first. */
export function listOf<T extends z.ZodType>(item: T) {
  return z.array(item, needs("a list with one entry for each block")).min(1, needs("at least one block"))
}

/** One value for every block or a list with one for each, to be given to `expand`; `what` names the value. */
export function perBlock<T extends z.ZodType>(item: T, what: string) {
  return z.union([item, z.array(item)], needs(`${what}, or a list of them`))
}

/** A key of which limn supports these values only, whatever else diffusers may know. */
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
 * `model` is the class that the file describes.
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
  const key = issue.path.map((part) => (typeof part === "number" ? `[${part}]` : String(part))).join("")
  if (key === "")
    throw new FormatError(`${source} is not a JSON object; limn reads the configuration of ${model} there.`)
  if (issue.input === undefined)
    throw new FormatError(`${source} has no "${key}"; limn cannot build ${model} without it.`)
  throw keyError(source, key, issue.input, issue.message)
}

/** Throws a FormatError where `divisor`, which `key` sets, does not divide `whole`; `what` says what that is. */
export function checkDivides(
  divisor: number,
  whole: number,
  what: string,
  key: string,
  source: string,
): void {
  if (whole % divisor !== 0) throw keyError(source, key, divisor, `it must divide ${what}, ${whole}`)
}

/** Throws a FormatError where a list does not have one entry for `each` of `count` things. */
export function checkLength(
  list: readonly unknown[],
  count: number,
  each: string,
  key: string,
  source: string,
): void {
  if (list.length !== count)
    throw keyError(source, key, list, `limn needs a list of ${count}, one for each ${each}`)
}

/** What `perBlock` read, as one value for each of `count` blocks. Throws as `checkLength` does. */
export function expand<T>(value: T | readonly T[], count: number, key: string, source: string): readonly T[] {
  if (!isList(value)) return new Array<T>(count).fill(value)
  checkLength(value, count, "block", key, source)
  return value
}

function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value)
}
