import { UsageError } from "../errors.ts"

const largest = 2n ** 64n - 1n

/** A seed as an unsigned 64-bit integer. Throws a UsageError for anything else: -1, 0.5, 2^53 as a number. */
export function parseSeed(seed: number | bigint): bigint {
  if (typeof seed === "number" && !Number.isSafeInteger(seed))
    throw new UsageError(`Seed ${seed} is not an exact integer; give a whole number, or a bigint above 2^53.`)
  const value = BigInt(seed)
  if (value < 0n || value > largest)
    throw new UsageError(`Seed ${value} is outside 0 to ${largest}; choose one inside.`)
  return value
}

/** A seed as a number where numbers are exact: JSON and people read it more easily. */
export function numberWhereExact(seed: bigint): number | bigint {
  return seed <= Number.MAX_SAFE_INTEGER ? Number(seed) : seed
}
