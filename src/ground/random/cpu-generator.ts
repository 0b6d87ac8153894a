import type { DTypeArrays } from "../dtype.ts"
import { bfloat16BitsToFloat32, float16BitsToFloat32 } from "../dtype.ts"
import { FormatError, UsageError } from "../errors.ts"
import type { Shape } from "../shape.ts"
import { sizeOf } from "../shape.ts"
import type { Tensor } from "../tensor.ts"
import { tensor, toHalf } from "../tensor.ts"
import { blockSize, boxMullerBlock32, boxMullerBlock64 } from "./box-muller.ts"
import type { MersenneTwister, MersenneTwisterState } from "./mersenne-twister.ts"
import { isMersenneTwisterState, mersenneTwister, resumeMersenneTwister } from "./mersenne-twister.ts"
import { roundedLog, roundedSineCosine } from "./rounded-functions.ts"
import { parseSeed } from "./seed.ts"
import type { RandomSource } from "./source.ts"

/** Element types that random reals come in. */
export type RealDType = "float32" | "float64" | "float16" | "bfloat16"

/** Where a CPU generator stands, as data that JSON keeps exactly. */
export interface CpuGeneratorState {
  readonly kind: "cpu"
  readonly seed: string
  readonly twister: MersenneTwisterState
  /** The second half of the last scalar Box-Muller pair, until it is given out. */
  readonly cachedNormal: number | null
}

/**
 * `torch.Generator("cpu")`: the same seed and the same calls give the bits that PyTorch 2.13 gives on x86-64 with
 * AVX2, but for the last bit of two float64 normals in a thousand.
 */
export interface CpuGenerator extends RandomSource {
  /** N(0, 1), as `torch.randn`. */
  randn(shape: Shape): Tensor<"float32">
  randn<D extends RealDType>(shape: Shape, options: { dtype: D }): Tensor<D>
  /** Uniform in [0, 1), as `torch.rand`. */
  rand(shape: Shape): Tensor<"float32">
  rand<D extends RealDType>(shape: Shape, options: { dtype: D }): Tensor<D>
  /** Integers in [low, high), as `torch.randint`. Throws a UsageError where low >= high. */
  randint(low: number, high: number, shape: Shape): Tensor<"int64">
  /** 0 to n - 1 in random order, as `torch.randperm`. */
  randperm(n: number): Tensor<"int64">
  state(): CpuGeneratorState
}

/** A generator as `torch.Generator("cpu").manual_seed(seed)`. Seeds: 0 to 2^64 - 1; the stream takes the low 32 bits. */
export function cpuGenerator(seed: number | bigint): CpuGenerator {
  const value = parseSeed(seed)
  return generatorOver(value, mersenneTwister(Number(value & 0xffffffffn)), null)
}

/** The generator that `state()` was asked of, as it stood then. Throws a FormatError where the data is no such state. */
export function cpuGeneratorFromState(state: CpuGeneratorState): CpuGenerator {
  const { kind, seed, twister, cachedNormal } = state
  if (
    kind !== "cpu" ||
    typeof seed !== "string" ||
    !/^\d+$/.test(seed) ||
    !isMersenneTwisterState(twister) ||
    !(cachedNormal === null || Number.isFinite(cachedNormal))
  )
    throw new FormatError("This is not the state of a CPU random generator; start from a seed instead.")
  return generatorOver(parseSeed(BigInt(seed)), resumeMersenneTwister(twister), cachedNormal)
}

function generatorOver(seed: bigint, twister: MersenneTwister, cachedNormal: number | null): CpuGenerator {
  /** One N(0, 1) in double precision. The pair's other half waits in the generator, even across bulk draws. */
  function scalarNormal(): number {
    if (cachedNormal !== null) {
      const value = cachedNormal
      cachedNormal = null
      return value
    }
    const [sine, cosine] = roundedSineCosine(2 * Math.PI * uniform53(twister))
    const r = Math.sqrt(-2 * roundedLog(1 - uniform53(twister)))
    cachedNormal = r * sine + 0
    return r * cosine + 0
  }

  function normals<A extends Float32Array | Float64Array>(out: A, kernel: Kernel<A>, filled: number): A {
    const n = out.length
    if (n < blockSize) {
      for (let i = 0; i < n; i++) out[i] = scalarNormal()
      return out
    }
    for (let i = 0; i < filled; i++) out[i] = kernel.uniform(twister)
    for (let at = 0; at + blockSize <= n; at += blockSize) kernel.block(out, at)
    if (n % blockSize === 0) return out
    // The last block overlaps the one before: drawn afresh, it overwrites what is there.
    for (let i = n - blockSize; i < n; i++) out[i] = kernel.uniform(twister)
    kernel.block(out, n - blockSize)
    return out
  }

  const wholeBlocks = (n: number) => n - (n % blockSize)
  const randn: Draws = {
    float64: (n) => normals(new Float64Array(n), kernel64, n),
    float32: (n) => normals(new Float32Array(n), kernel32, n),
    // The half kernels draw no uniforms for a tail that is to be drawn afresh anyway.
    float16: (n) => rounded(normals(new Float32Array(n), kernel32, wholeBlocks(n)), "float16"),
    bfloat16: (n) => rounded(normals(new Float32Array(n), kernel32, wholeBlocks(n)), "bfloat16"),
  }

  const uniform32 = (n: number) => new Float32Array(n).map(() => uniform24(twister))
  const rand: Draws = {
    float64: (n) => new Float64Array(n).map(() => uniform53(twister)),
    float32: uniform32,
    float16: (n) => belowOne(rounded(uniform32(n), "float16"), float16BitsToFloat32),
    bfloat16: (n) => belowOne(rounded(uniform32(n), "bfloat16"), bfloat16BitsToFloat32),
  }

  function draw(draws: Draws, shape: Shape, dtype: RealDType): Tensor {
    return tensor(dtype, shape, draws[dtype](sizeOf(shape)))
  }

  return {
    // The row of `draws` at `dtype` makes that type's array, which the compiler cannot follow through a union.
    randn: <D extends RealDType>(shape: Shape, options?: { dtype: D }) =>
      draw(randn, shape, options?.dtype ?? "float32") as Tensor<D>,
    rand: <D extends RealDType>(shape: Shape, options?: { dtype: D }) =>
      draw(rand, shape, options?.dtype ?? "float32") as Tensor<D>,

    randint(low, high, shape) {
      if (!Number.isSafeInteger(low) || !Number.isSafeInteger(high) || low >= high)
        throw new UsageError(`No integers lie in [${low}, ${high}); give whole numbers with low < high.`)
      return tensor("int64", shape, integers(twister, low, BigInt(high) - BigInt(low), sizeOf(shape)))
    },

    randperm(n) {
      const order = BigInt64Array.from({ length: n }, (_, i) => BigInt(i))
      for (let i = 0; i < n - 1; i++) {
        const other = i + (twister.uint32() % (n - i))
        const moved = order[i]
        order[i] = order[other]
        order[other] = moved
      }
      return tensor("int64", [n], order)
    },

    state: () => ({ kind: "cpu", seed: String(seed), twister: twister.state(), cachedNormal }),
  }
}

type Draws = { readonly [D in RealDType]: (n: number) => DTypeArrays[D] }

interface Kernel<A> {
  uniform(twister: MersenneTwister): number
  block(out: A, at: number): void
}

const kernel32: Kernel<Float32Array> = { uniform: uniform24, block: boxMullerBlock32 }
const kernel64: Kernel<Float64Array> = { uniform: uniform53, block: boxMullerBlock64 }

/** Uniform in [0, 1), a multiple of 2^-24. */
function uniform24(twister: MersenneTwister): number {
  return (twister.uint32() & 0xffffff) * 2 ** -24
}

/** Uniform in [0, 1), a multiple of 2^-53: the low 53 bits of two words, high word first. */
function uniform53(twister: MersenneTwister): number {
  const high = twister.uint32() & 0x1fffff
  return (high * 2 ** 32 + twister.uint32()) * 2 ** -53
}

function integers(twister: MersenneTwister, low: number, range: bigint, count: number): BigInt64Array {
  const start = BigInt(low)
  return new BigInt64Array(count).map(() => {
    const word = BigInt(twister.uint32())
    // Wide ranges take two words, so that the remainder's bias stays small.
    const bits = range < 1n << 28n ? word : (word << 32n) | BigInt(twister.uint32())
    return start + (bits % range)
  })
}

function rounded(values: Float32Array, dtype: "float16" | "bfloat16"): Uint16Array {
  return toHalf(tensor("float32", [values.length], values), dtype).data
}

/** Uniforms that were rounded up to 1 become 0, so that the range stays half open. */
function belowOne(bits: Uint16Array, read: (bits: number) => number): Uint16Array {
  return bits.map((b) => (read(b) === 1 ? 0 : b))
}
