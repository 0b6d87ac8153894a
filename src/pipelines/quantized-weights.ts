import { absolutePath, exists, writeFileAtomic } from "#platform"
import { encodeSafetensorsHeader } from "../formats/safetensors.ts"
import type { StoredWeight, Weights } from "../graph/weights.ts"
import { storedRows, storedWeights } from "../graph/weights.ts"
import type { BlockFormat } from "../ground/block-integers.ts"
import { toBlockIntegers } from "../ground/block-integers.ts"
import { toFloat32 } from "../ground/tensor.ts"
import type { Component } from "./component.ts"
import { openTensors } from "./component.ts"
import { fingerprint } from "./fingerprint.ts"
import { readStored } from "./stored-weight.ts"
import { withTensorFile } from "./tensor-file.ts"

/** How a component's matrices are quantized. */
export interface QuantizeOptions extends BlockFormat {
  /** Called after each matrix that was rounded; never where the file is there already. */
  readonly onProgress?: (done: number, total: number) => void
}

/** Elements that are rounded at once: little memory, and the event loop gets its turns. */
const ROUNDED_AT_ONCE = 2 ** 22

/**
 * A maker of a component's matrices `names` in blocks of integers, as `quantizeProducts` takes them. They are rounded the
 * first time and kept in a file beside the checkpoint, `limn-int8.safetensors` or `limn-int4.safetensors`; the file is made
 * anew where it is of other weights, other names or another block size. Throws a LimnError where it cannot be written.
 */
export async function quantizedWeights(
  component: Component,
  names: readonly string[],
  { bits, blockSize, onProgress }: QuantizeOptions,
): Promise<() => Weights> {
  const sources = names.map((name) => [name, component.tensors.get(name)!] as const)
  const path = absolutePath(component.path, `limn-int${bits}.safetensors`)
  const madeFrom = await fingerprint(sources, `blocks of ${blockSize}`)
  if (!(await isMadeFrom(path, madeFrom)))
    await writeFileAtomic(path, rounded(sources, { bits, blockSize, onProgress }, madeFrom))
  const tensors = await openTensors([{ path }], (name) => name)
  return () => storedWeights(tensors, path)
}

type Source = readonly [name: string, weight: StoredWeight]

async function isMadeFrom(path: string, madeFrom: string): Promise<boolean> {
  if (!(await exists(path))) return false
  return withTensorFile(path, ({ metadata }) => metadata.madeFrom === madeFrom)
}

/** The file's bytes: a header, then each matrix's integers and scales. */
async function* rounded(
  sources: readonly Source[],
  { bits, blockSize, onProgress }: QuantizeOptions,
  madeFrom: string,
): AsyncGenerator<Uint8Array> {
  const described = sources.flatMap(([name, { shape }]) => {
    const [out, wide] = shape
    const blocks = wide / blockSize
    return [
      [`${name}.integers`, { dtype: "uint8", shape: [out, blocks, (blockSize * bits) / 8] }],
      [`${name}.scales`, { dtype: "float32", shape: [out, blocks] }],
    ] as const
  })
  yield encodeSafetensorsHeader(described, { madeFrom })
  for (const [done, [name, weight]] of sources.entries()) {
    const scales: Float32Array[] = []
    const rows = Math.max(1, Math.floor(ROUNDED_AT_ONCE / weight.shape[1]))
    for (let start = 0; start < weight.shape[0]; start += rows) {
      const piece = storedRows(weight, [start, Math.min(start + rows, weight.shape[0])], name)
      const block = toBlockIntegers(toFloat32(await readStored(piece)).data, { bits, blockSize })
      scales.push(block.scales)
      yield block.integers
    }
    for (const { buffer, byteOffset, byteLength } of scales)
      yield new Uint8Array(buffer, byteOffset, byteLength)
    onProgress?.(done + 1, sources.length)
  }
}
