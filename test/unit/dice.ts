/** Random choices that a seed repeats (mulberry32), for tests that try many inputs. */
export interface Dice {
  /** In [0, 1). */
  readonly next: () => number
  /** A whole number in [0, n). */
  readonly below: (n: number) => number
  readonly pick: <T>(choices: readonly T[]) => T
}

/**
 * How many inputs a test tries that tries `usual` many in a quick check: `npm test` tries LIMN_FUZZ times as many, and
 * a longer look is a larger LIMN_FUZZ.
 */
export function fuzzRounds(usual: number): number {
  return usual * Number(process.env.LIMN_FUZZ ?? 1)
}

export function dice(seed: number): Dice {
  let state = seed >>> 0
  const next = () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = Math.imul(state ^ (state >>> 15), state | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32
  }
  const below = (n: number) => Math.floor(next() * n)
  return { next, below, pick: (choices) => choices[below(choices.length)] }
}
