import { absolutePath, cacheFolder, exists, isWritableFolder, makeFolder, writeFileInParts } from "#platform"
import { encodeSafetensorsHeader } from "../formats/safetensors.ts"
import type { StoredWeight, Weights } from "../graph/weights.ts"
import { storedRows, storedWeights } from "../graph/weights.ts"
import type { BlockFormat } from "../ground/block-integers.ts"
import { toBlockIntegers } from "../ground/block-integers.ts"
import { LimnError } from "../ground/errors.ts"
import { sameShape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { rawBytes, toFloat32 } from "../ground/tensor.ts"
import type { Component } from "./component.ts"
import { openTensors } from "./component.ts"
import { lastPart } from "./files.ts"
import { fingerprint } from "./fingerprint.ts"
import { readStored } from "./stored-weight.ts"

/** How far the rounding of a model's matrices is. */
export interface QuantizeProgress {
  readonly done: number
  readonly total: number
}

/** How a component's matrices are quantized. */
export interface QuantizeOptions extends BlockFormat {
  /** Stops the work; what is done by then is not done again. */
  readonly signal?: AbortSignal
  /** Called after each matrix that was rounded; never where the file is there already. */
  readonly onProgress?: (progress: QuantizeProgress) => void
}

/** Elements that are rounded at once: little memory, and the event loop gets its turns. */
const ROUNDED_AT_ONCE = 2 ** 22

/**
 * A maker of a component's matrices `names` in blocks of integers, as `quantizeProducts` takes them. They are rounded the
 * first time and kept in a file, `limn-int8.safetensors` or `limn-int4.safetensors` beside the checkpoint, or where that
 * cannot be written to in limn's cache. The file is made anew where it is of other weights, other names or another block
 * size, damaged, or rounded otherwise than today; a rounding that was cut goes on where it was.
 * Throws a LimnError where it cannot be written, and the signal's reason.
 */
export async function quantizedWeights(
  component: Component,
  names: readonly string[],
  options: QuantizeOptions,
): Promise<() => Weights> {
  const { bits, blockSize } = options
  const sources: Source[] = []
  for (const name of names) {
    const weight = component.tensors.get(name)!
    sources.push({ name, weight, samples: await outerRows(weight, name) })
  }
  const madeFrom = await fingerprint(
    sources.map(({ name, weight }) => [name, weight]),
    `blocks of ${blockSize}`,
  )
  const beside = absolutePath(component.path, `limn-int${bits}.safetensors`)
  const cached = absolutePath(cacheFolder(), `${lastPart(component.path)}-${madeFrom}-int${bits}.safetensors`)
  for (const path of [beside, cached]) {
    const tensors = await tensorsOf(path, sources, options)
    if (tensors !== undefined) return () => storedWeights(tensors, path)
  }
  const path = (await isWritableFolder(component.path)) ? beside : cached
  if (path === cached) await makeFolder(cacheFolder())
  const header = encodeSafetensorsHeader(
    sources.flatMap((source) => describedBy(source, options)),
    { madeFrom },
  )
  await writeFileInParts(
    path,
    header,
    sources.map((source, i) => ({
      bytes: bytesOf(source, options),
      make: () =>
        rounded(source, options, () => options.onProgress?.({ done: i + 1, total: sources.length })),
    })),
  )
  const tensors = await openTensors([{ path }], (name) => name)
  return () => storedWeights(tensors, path)
}

interface Source {
  readonly name: string
  readonly weight: StoredWeight
  /** Its first and its last row. */
  readonly samples: readonly Tensor[]
}

function outerRows(weight: StoredWeight, name: string): Promise<Tensor[]> {
  const [count] = weight.shape
  return Promise.all([0, count - 1].map((row) => readStored(storedRows(weight, [row, row + 1], name))))
}

/** What a matrix becomes, in the file's order. */
function describedBy({ name, weight }: Source, { bits, blockSize }: BlockFormat) {
  const [out, wide] = weight.shape
  const blocks = wide / blockSize
  return [
    [`${name}.integers`, { dtype: "uint8", shape: [out, blocks, (blockSize * bits) / 8] }],
    [`${name}.scales`, { dtype: "float32", shape: [out, blocks] }],
  ] as const
}

function bytesOf({ weight }: Source, { bits, blockSize }: BlockFormat): number {
  const [out, wide] = weight.shape
  return (out * wide * bits) / 8 + (4 * out * wide) / blockSize
}

/** The integers of a matrix, then its scales. */
async function* rounded(
  { name, weight }: Source,
  { bits, blockSize, signal }: QuantizeOptions,
  onDone: () => void,
): AsyncGenerator<Uint8Array> {
  const scales: Float32Array[] = []
  const rows = Math.max(1, Math.floor(ROUNDED_AT_ONCE / weight.shape[1]))
  for (let start = 0; start < weight.shape[0]; start += rows) {
    signal?.throwIfAborted()
    const piece = storedRows(weight, [start, Math.min(start + rows, weight.shape[0])], name)
    const block = toBlockIntegers(toFloat32(await readStored(piece)).data, { bits, blockSize })
    scales.push(block.scales)
    yield block.integers
  }
  for (const one of scales) yield rawBytes(one)
  onDone()
}

/**
 * The tensors of a file that was made of these matrices in this way; undefined where there is none. Of each matrix the
 * first and the last row are rounded again: what was cut, or rounded by other rules, differs there.
 */
async function tensorsOf(
  path: string,
  sources: readonly Source[],
  format: BlockFormat,
): Promise<ReadonlyMap<string, StoredWeight> | undefined> {
  if (!(await exists(path))) return undefined
  const tensors = await openTensors([{ path }], (name) => name).catch((error) => {
    if (error instanceof LimnError) return undefined
    throw error
  })
  if (tensors?.size !== 2 * sources.length) return undefined
  for (const source of sources) {
    for (const [name, { dtype, shape }] of describedBy(source, format)) {
      const found = tensors.get(name)
      if (found?.dtype !== dtype || !sameShape(found.shape, shape)) return undefined
    }
    for (const [i, row] of source.samples.entries()) {
      const { integers, scales } = toBlockIntegers(toFloat32(row).data, format)
      for (const [kind, expected] of Object.entries({ integers, scales })) {
        const name = `${source.name}.${kind}`
        const found = (await outerRows(tensors.get(name)!, name))[i]
        if (!sameBytes(rawBytes(found.data), rawBytes(expected))) return undefined
      }
    }
  }
  return tensors
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i])
}
