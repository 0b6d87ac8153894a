/** Uniform numbers in [0, 1). */
export type Random = () => number

/**
 * Uniform numbers from a 32-bit seed (a Weyl sequence finished by the 32-bit mix of MurmurHash3).
 * The same seed gives the same numbers on every machine.
 */
export function randomFrom(seed: number): Random {
  let weyl = seed >>> 0
  return () => {
    weyl = (weyl + 0x9e3779b9) >>> 0
    let z = weyl
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b)
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35)
    return ((z ^ (z >>> 16)) >>> 0) / 2 ** 32
  }
}

/** A number in [low, high). */
export function between(random: Random, low: number, high: number): number {
  return low + (high - low) * random()
}

/** One of the items, each as likely as the others. */
export function pick<T>(random: Random, items: readonly T[]): T {
  return items[Math.floor(random() * items.length)]
}

/** Puts the items in a random order, in place (Fisher and Yates). */
export function shuffle<T>(random: Random, items: T[]): T[] {
  for (let i = items.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1))
    ;[items[i], items[j]] = [items[j], items[i]]
  }
  return items
}
