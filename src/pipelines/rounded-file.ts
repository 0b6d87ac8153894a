import { absolutePath, cacheFolder, exists, isWritableFolder, makeFolder, writeFileInParts } from "#platform"
import { encodeSafetensorsHeader } from "../formats/safetensors.ts"
import type { StoredWeight, Weights } from "../graph/weights.ts"
import { storedRows, storedWeights } from "../graph/weights.ts"
import { LimnError } from "../ground/errors.ts"
import { sameShape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { byteLength, rawBytes } from "../ground/tensor.ts"
import { openTensors } from "./component.ts"
import { lastPart } from "./files.ts"
import { fingerprint } from "./fingerprint.ts"
import { readStored } from "./stored-weight.ts"
import { withTensorFile } from "./tensor-file.ts"

/** How far the rounding of a model's matrices is. */
export interface QuantizeProgress {
  /** Of which part of the model they are. */
  readonly part: "denoiser" | "decoder" | "text encoder"
  readonly done: number
  readonly total: number
}

/** How a rounding is followed and stopped. */
export interface RoundingOptions {
  /** Stops the work; what is done by then is not done again. */
  readonly signal?: AbortSignal
  /** Called after each matrix that was rounded; never where the file is there already. */
  readonly onProgress?: (progress: QuantizeProgress) => void
}

/** A weight that is rounded, and what becomes of it: `name.integers`, then `name.scales`. */
export interface RoundedWeight {
  readonly name: string
  readonly weight: StoredWeight
  readonly integers: Pick<Tensor, "dtype" | "shape">
  readonly scales: Pick<Tensor, "dtype" | "shape">
  /** The bytes of both. */
  round(signal: AbortSignal | undefined): AsyncIterable<Uint8Array>
  /**
   * Whether these were made of the weight by today's rules, told by rounding the weight's first and last row again; what was
   * cut off a file differs there.
   */
  agrees(integers: StoredWeight, scales: StoredWeight): Promise<boolean>
}

/** Where a file of rounded weights is kept. */
export interface RoundedPlace {
  /** The file beside the checkpoint. */
  readonly beside: string
  /** The checkpoint, and the kind of file, by which its name is known in limn's cache where it cannot be beside it. */
  readonly checkpoint: string
  readonly kind: string
  readonly part: QuantizeProgress["part"]
}

/**
 * A maker of rounded weights, which are made the first time and kept in a file beside the checkpoint, or in limn's cache
 * where that cannot be written to. The file is made anew where it is of other weights, other names or other `rules`,
 * damaged, or rounded otherwise than today; a rounding that was cut goes on where it was.
 * Throws a LimnError where it cannot be written, and the signal's reason.
 */
export async function roundedFile(
  { beside, checkpoint, kind, part }: RoundedPlace,
  weights: readonly RoundedWeight[],
  rules: string,
  { signal, onProgress }: RoundingOptions,
): Promise<() => Weights> {
  const madeFrom = await fingerprint(
    weights.map(({ name, weight }) => [name, weight]),
    rules,
  )
  const cached = absolutePath(cacheFolder(), `${lastPart(checkpoint)}-${madeFrom}-${kind}.safetensors`)
  for (const path of [beside, cached]) {
    const tensors = await tensorsOf(path, weights, madeFrom)
    if (tensors !== undefined) return () => storedWeights(tensors, path)
  }
  const path = (await isWritableFolder(absolutePath(beside, ".."))) ? beside : cached
  if (path === cached) await makeFolder(cacheFolder())
  const header = encodeSafetensorsHeader(weights.flatMap(described), { madeFrom })
  await writeFileInParts(
    path,
    header,
    weights.map((weight, i) => ({
      bytes: described(weight).reduce((sum, [, type]) => sum + byteLength(type), 0),
      async *make() {
        signal?.throwIfAborted()
        yield* weight.round(signal)
        onProgress?.({ part, done: i + 1, total: weights.length })
      },
    })),
  )
  const tensors = await openTensors([{ path }], (name) => name)
  return () => storedWeights(tensors, path)
}

function described({ name, integers, scales }: RoundedWeight) {
  return [[`${name}.integers`, integers] as const, [`${name}.scales`, scales] as const]
}

/** The tensors of a file that was made of these weights; undefined where there is none. */
async function tensorsOf(
  path: string,
  weights: readonly RoundedWeight[],
  madeFrom: string,
): Promise<ReadonlyMap<string, StoredWeight> | undefined> {
  if (!(await exists(path))) return undefined
  const kept = async () => {
    const source = await withTensorFile(path, ({ metadata }) => metadata.madeFrom)
    return source === madeFrom ? openTensors([{ path }], (name) => name) : undefined
  }
  const tensors = await kept().catch((error) => {
    if (error instanceof LimnError) return undefined
    throw error
  })
  if (tensors?.size !== 2 * weights.length) return undefined
  for (const weight of weights) {
    const [integers, scales] = described(weight).map(([name, { dtype, shape }]) => {
      const found = tensors.get(name)
      return found?.dtype === dtype && sameShape(found.shape, shape) ? found : undefined
    })
    if (integers === undefined || scales === undefined) return undefined
    if (!(await weight.agrees(integers, scales))) return undefined
  }
  return tensors
}

/** The first and the last row of a stored tensor. */
export function outerRows(weight: StoredWeight, name: string): Promise<[Tensor, Tensor]> {
  const row = (at: number) => readStored(storedRows(weight, [at, at + 1], name))
  return Promise.all([row(0), row(weight.shape[0] - 1)])
}

/** Whether two arrays hold the same bytes. */
export function sameBytes(a: Tensor["data"], b: Tensor["data"]): boolean {
  const [x, y] = [rawBytes(a), rawBytes(b)]
  return x.length === y.length && x.every((byte, i) => byte === y[i])
}
