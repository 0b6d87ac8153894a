/** Where a Mersenne Twister stands: its 624 words, and how many of them have been given out. */
export interface MersenneTwisterState {
  readonly words: readonly number[]
  readonly position: number
}

/** A stream of uniform 32-bit words. */
export interface MersenneTwister {
  /** The next word, in [0, 2^32). */
  uint32(): number
  state(): MersenneTwisterState
}

const size = 624
const middle = 397

/** mt19937 (Matsumoto and Nishimura, 1998) started from 32 bits, as `std::mt19937` and PyTorch start it. */
export function mersenneTwister(seed: number): MersenneTwister {
  const words = new Uint32Array(size)
  words[0] = seed
  for (let i = 1; i < size; i++) words[i] = Math.imul(1812433253, words[i - 1] ^ (words[i - 1] >>> 30)) + i
  return resumeMersenneTwister({ words: Array.from(words), position: size })
}

/** mt19937 from a saved state. */
export function resumeMersenneTwister(saved: MersenneTwisterState): MersenneTwister {
  const words = Uint32Array.from(saved.words)
  let position = saved.position
  return {
    uint32() {
      if (position === size) {
        regenerate(words)
        position = 0
      }
      let y = words[position++]
      y ^= y >>> 11
      y ^= (y << 7) & 0x9d2c5680
      y ^= (y << 15) & 0xefc60000
      return (y ^ (y >>> 18)) >>> 0
    },
    state: () => ({ words: Array.from(words), position }),
  }
}

/** Whether plain data is a state that `resumeMersenneTwister` can take. */
export function isMersenneTwisterState(data: unknown): data is MersenneTwisterState {
  if (typeof data !== "object" || data === null || !("words" in data) || !("position" in data)) return false
  const { words, position } = data
  const within = (n: unknown, top: number) =>
    Number.isInteger(n) && (n as number) >= 0 && (n as number) <= top
  return (
    Array.isArray(words) &&
    words.length === size &&
    words.every((word) => within(word, 0xffffffff)) &&
    within(position, size)
  )
}

function regenerate(words: Uint32Array): void {
  for (let i = 0; i < size; i++) {
    const y = (words[i] & 0x80000000) | (words[(i + 1) % size] & 0x7fffffff)
    words[i] = words[(i + middle) % size] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0)
  }
}
