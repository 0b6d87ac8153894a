import { build, toOnnx } from "../graph/build.ts"
import { input } from "../graph/node.ts"
import type { Weights } from "../graph/weights.ts"
import { float32, int64, type Tensor } from "../ground/tensor.ts"
import { clipText } from "../models/clip-text.ts"
import type { ClipTextConfig } from "../models/config/clip-text.ts"
import { openSession } from "../runtime/session.ts"
import type { CaptionIds } from "./caption-ids.ts"

/** What a frozen text encoder makes of captions. */
export interface CaptionStates {
  /** The shape of one caption's states: [T, D]. */
  readonly shape: readonly [number, number]
  /** The last hidden states of captions by their numbers: [n, T, D]. */
  of(captions: readonly number[]): Promise<Tensor<"float32">>
  close(): Promise<void>
}

/** Captions that the encoder reads at a time. Always as many, so that a caption's states are the same bits each time. */
const batchSize = 8

/** Encoded captions are remembered until they take this much memory. */
const rememberedBytes = 2 ** 32

/** Opens a frozen encoder that reads each caption when it is first asked for, and remembers what it made of it. */
export async function openCaptionStates(
  captions: CaptionIds,
  weights: Weights,
  config: ClipTextConfig,
  { threads }: { readonly threads?: number } = {},
): Promise<CaptionStates> {
  const { length } = captions
  const states = clipText(input("ids", "int64", [batchSize, length]), weights, config).lastHiddenState
  const session = await openSession(toOnnx(build({ states })), { device: "cpu", threads })
  const shape = [length, states.shape[2]] as const
  const size = shape[0] * shape[1]
  const remembered = new Map<number, Float32Array>()
  const most = Math.floor(rememberedBytes / (size * Float32Array.BYTES_PER_ELEMENT))

  async function encode(few: readonly number[]): Promise<Float32Array[]> {
    // Filled up with its last caption, since the graph's sizes are fixed.
    const full = Array.from({ length: batchSize }, (_, k) => few[Math.min(k, few.length - 1)])
    const ids = full.flatMap((caption) => captions.row(caption).ids)
    const results = await session.run({ ids: int64([batchSize, length], ids) })
    const data = results.states.data as Float32Array
    return few.map((_, k) => data.slice(k * size, (k + 1) * size))
  }

  return {
    shape,
    async of(wanted) {
      const known = new Map(wanted.map((caption) => [caption, remembered.get(caption)]))
      const missing = [...known.keys()].filter((caption) => known.get(caption) === undefined)
      for (let start = 0; start < missing.length; start += batchSize) {
        const few = missing.slice(start, start + batchSize)
        for (const [k, state] of (await encode(few)).entries()) {
          known.set(few[k], state)
          if (remembered.size < most) remembered.set(few[k], state)
        }
      }
      const all = new Float32Array(wanted.length * size)
      wanted.forEach((caption, k) => {
        all.set(known.get(caption)!, k * size)
      })
      return float32([wanted.length, ...shape], all)
    },
    close: () => session.close(),
  }
}
