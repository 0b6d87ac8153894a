import { absolutePath } from "#platform"
import type { StoredWeight, Weights } from "../graph/weights.ts"
import { storedRows } from "../graph/weights.ts"
import type { BlockFormat } from "../ground/block-integers.ts"
import { toBlockIntegers } from "../ground/block-integers.ts"
import { rawBytes, toFloat32 } from "../ground/tensor.ts"
import type { Component } from "./component.ts"
import type { RoundedPlace, RoundedWeight, RoundingOptions } from "./rounded-file.ts"
import { outerRows, roundedFile, sameBytes } from "./rounded-file.ts"
import { readStored } from "./stored-weight.ts"

/** Elements that are rounded at once: little memory, and the event loop gets its turns. */
const ROUNDED_AT_ONCE = 2 ** 22

/**
 * A maker of a component's matrices `names` in blocks of integers, as `quantizeProducts` takes them. They are rounded the
 * first time and kept in a file, `limn-int8.safetensors` or `limn-int4.safetensors` in the component's folder. Throws as
 * `roundedFile` does.
 */
export function quantizedWeights(
  { path, tensors }: Component,
  names: readonly string[],
  { bits, blockSize, ...options }: BlockFormat & RoundingOptions,
): Promise<() => Weights> {
  return roundedFile(
    roundedPlace({ path }, `int${bits}`),
    names.map((name) => inBlocks(name, tensors.get(name)!, { bits, blockSize })),
    `blocks of ${blockSize}`,
    options,
  )
}

/** Where integers of a component are kept: a file of that name in its folder. */
export function roundedPlace({ path }: Pick<Component, "path">, kind: "int8" | "int4"): RoundedPlace {
  return {
    beside: absolutePath(path, `limn-${kind}.safetensors`),
    checkpoint: path,
    kind,
    part: "text encoder",
  }
}

function inBlocks(name: string, weight: StoredWeight, format: BlockFormat): RoundedWeight {
  const { bits, blockSize } = format
  const [out, wide] = weight.shape
  const blocks = wide / blockSize
  return {
    name,
    weight,
    integers: { dtype: "uint8", shape: [out, blocks, (blockSize * bits) / 8] },
    scales: { dtype: "float32", shape: [out, blocks] },
    async *round(signal) {
      const scales: Float32Array[] = []
      const rows = Math.max(1, Math.floor(ROUNDED_AT_ONCE / wide))
      for (let start = 0; start < out; start += rows) {
        signal?.throwIfAborted()
        const piece = storedRows(weight, [start, Math.min(start + rows, out)], name)
        const block = toBlockIntegers(toFloat32(await readStored(piece)).data, format)
        scales.push(block.scales)
        yield block.integers
      }
      for (const one of scales) yield rawBytes(one)
    },
    async agrees(integers, scales) {
      const rows = await Promise.all([weight, integers, scales].map((each) => outerRows(each, name)))
      return [0, 1].every((end) => {
        const expected = toBlockIntegers(toFloat32(rows[0][end]).data, format)
        return (
          sameBytes(expected.integers, rows[1][end].data) && sameBytes(expected.scales, rows[2][end].data)
        )
      })
    },
  }
}
