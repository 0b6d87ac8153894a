import { pieceAt } from "../graph/passes/weight-piece.ts"
import type { StoredWeight, Weights } from "../graph/weights.ts"
import { storedRows } from "../graph/weights.ts"
import { toChannelIntegers } from "../ground/channel-integers.ts"
import { sizeOf } from "../ground/shape.ts"
import { rawBytes, tensor, toFloat32, transposed } from "../ground/tensor.ts"
import type { Component } from "./component.ts"
import type { RoundedPlace, RoundedWeight, RoundingOptions } from "./rounded-file.ts"
import { outerRows, roundedFile } from "./rounded-file.ts"
import { readStored } from "./stored-weight.ts"

/**
 * A maker of a component's weights `names` in integers of eight bits, as `overIntegers` takes them. They are rounded the first
 * time and kept at the place given. Throws as `roundedFile` does.
 */
export function int8Weights(
  place: RoundedPlace,
  { tensors }: Component,
  names: readonly string[],
  options: RoundingOptions = {},
): Promise<() => Weights> {
  const weights = names.map((path) => {
    const { name, rows } = pieceAt(path)
    const whole = tensors.get(name)!
    return inColumns(path, rows === undefined ? whole : storedRows(whole, rows, name))
  })
  return roundedFile(place, weights, "columns", options)
}

/** Of each output one column, of a convolution by the places of the kernel and then by channels. */
function inColumns(name: string, weight: StoredWeight): RoundedWeight {
  const [out, channels, ...kernel] = weight.shape
  const covered = sizeOf(kernel)
  const wide = channels * covered
  return {
    name,
    weight,
    integers: { dtype: "int8", shape: [wide, out] },
    scales: { dtype: "float32", shape: [out] },
    async *round() {
      const { integers, scales } = toChannelIntegers(toFloat32(await readStored(weight)).data, out)
      const columns = transposed(tensor("int8", [out, wide], integers)).data
      if (covered === 1) yield rawBytes(columns)
      else yield rawBytes(placesFirst(columns, { channels, covered, out }))
      yield rawBytes(scales)
    },
    async agrees(_, scales) {
      const [rows, kept] = await Promise.all([outerRows(weight, name), readStored(scales)])
      const [first, last] = rows.map((row) => toChannelIntegers(toFloat32(row).data, 1).scales[0])
      return kept.data[0] === first && kept.data[out - 1] === last
    },
  }
}

interface Sizes {
  readonly channels: number
  readonly covered: number
  readonly out: number
}

/** Rows [channels, covered, out] as [covered, channels, out]. */
function placesFirst(rows: Int8Array, { channels, covered, out }: Sizes): Int8Array {
  const moved = new Int8Array(rows.length)
  for (let channel = 0; channel < channels; channel++)
    for (let place = 0; place < covered; place++) {
      const from = (channel * covered + place) * out
      moved.set(rows.subarray(from, from + out), (place * channels + channel) * out)
    }
  return moved
}
