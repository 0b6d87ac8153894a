import { FormatError } from "../errors.ts"
import type { Shape } from "../shape.ts"
import { sizeOf } from "../shape.ts"
import { tensor } from "../tensor.ts"
import { philox } from "./philox.ts"
import { parseSeed } from "./seed.ts"
import type { RandomSource } from "./source.ts"

/**
 * The GPU whose stream is wanted. It matters only for draws of more numbers than its threads: 221,184 on the
 * default, an A100. One 1024 x 1024 picture draws 65,536.
 */
export interface CudaGeneratorOptions {
  /** Streaming multiprocessors; default 108. */
  readonly multiprocessors?: number
  /** Threads that one multiprocessor holds; default 2048. */
  readonly maxThreadsPerMultiprocessor?: number
}

/** Where a CUDA generator stands, as data that JSON keeps exactly. */
export interface CudaGeneratorState {
  readonly kind: "cuda"
  readonly seed: string
  readonly offset: number
  readonly multiprocessors: number
  readonly maxThreadsPerMultiprocessor: number
}

/** `torch.Generator("cuda")`, without the GPU. */
export interface CudaGenerator extends RandomSource {
  state(): CudaGeneratorState
}

/**
 * The normal numbers that PyTorch draws on an NVIDIA GPU after `manual_seed(seed)`: the pictures that web tools
 * make from a seed with "GPU" noise. Same words as the GPU's, so equal to it but for the last bits of its fast
 * sine and cosine. Seeds: 0 to 2^64 - 1.
 */
export function cudaGenerator(seed: number | bigint, options: CudaGeneratorOptions = {}): CudaGenerator {
  return generatorAt({
    kind: "cuda",
    seed: String(parseSeed(seed)),
    offset: 0,
    multiprocessors: options.multiprocessors ?? 108,
    maxThreadsPerMultiprocessor: options.maxThreadsPerMultiprocessor ?? 2048,
  })
}

/** The generator that `state()` was asked of, as it stood then. Throws a FormatError where the data is no such state. */
export function cudaGeneratorFromState(state: CudaGeneratorState): CudaGenerator {
  const { kind, seed, offset, multiprocessors, maxThreadsPerMultiprocessor } = state
  const counts = [offset, multiprocessors, maxThreadsPerMultiprocessor]
  if (kind !== "cuda" || typeof seed !== "string" || !/^\d+$/.test(seed) || !counts.every(isCount))
    throw new FormatError("This is not the state of a CUDA random generator; start from a seed instead.")
  return generatorAt({ kind, seed, offset, multiprocessors, maxThreadsPerMultiprocessor })
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 0
}

const threadsPerBlock = 256
/** Normals that one thread makes of one Philox output. */
const perCall = 4

function generatorAt(start: CudaGeneratorState): CudaGenerator {
  const { multiprocessors, maxThreadsPerMultiprocessor } = start
  const seed = BigInt(start.seed)
  const key = [Number(seed & 0xffffffffn), Number(seed >> 32n)] as const
  const mostBlocks = multiprocessors * Math.floor(maxThreadsPerMultiprocessor / threadsPerBlock)
  let offset = start.offset

  return {
    randn(shape: Shape) {
      const n = sizeOf(shape)
      const out = new Float32Array(n)
      if (n === 0) return tensor("float32", shape, out)
      // PyTorch's grid-stride loop: thread t owns the elements t, t + T, t + 2T, t + 3T of every 4T.
      const threads = threadsPerBlock * Math.min(Math.ceil(n / threadsPerBlock), mostBlocks)
      const calls = Math.ceil(n / (perCall * threads))
      for (let call = 0; call < calls; call++) {
        const counter = offset / perCall + call
        for (let thread = 0; thread < threads; thread++) {
          const first = call * perCall * threads + thread
          if (first >= n) break
          const [x, y, z, w] = philox([counter >>> 0, Math.floor(counter / 2 ** 32), thread, 0], key)
          writeNormals(out, first, threads, x, y)
          writeNormals(out, first + 2 * threads, threads, z, w)
        }
      }
      offset += perCall * calls
      return tensor("float32", shape, out)
    },
    state: () => ({ ...start, offset }),
  }
}

const fround = Math.fround
const perWord = fround(2.3283064e-10) // 2^-32
const anglePerWord = fround(fround(2.3283064e-10) * fround(6.2831855)) // 2^-32 2 pi

/** cuRAND's Box-Muller: two words to two normals, `stride` apart; what falls outside `out` is dropped. */
function writeNormals(out: Float32Array, at: number, stride: number, x: number, y: number): void {
  if (at >= out.length) return
  const u = fround(fround(x) * perWord + perWord / 2)
  const angle = fround(fround(y) * anglePerWord + anglePerWord / 2)
  const r = fround(Math.sqrt(fround(-2 * fround(Math.log(u)))))
  out[at] = r * fround(Math.sin(angle))
  if (at + stride < out.length) out[at + stride] = r * fround(Math.cos(angle))
}
