import { pieceAt } from "../graph/passes/weight-piece.ts"
import type { StoredWeight, Weights } from "../graph/weights.ts"
import { storedRows } from "../graph/weights.ts"
import { subtractIntegers, toChannelIntegers } from "../ground/channel-integers.ts"
import { turnBlocks } from "../ground/hadamard.ts"
import { sizeOf } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { rawBytes, tensor, toFloat32, transposed } from "../ground/tensor.ts"
import type { Component } from "./component.ts"
import type { RoundedPlace, RoundedWeight, RoundingOptions } from "./rounded-file.ts"
import { outerRows, roundedFile } from "./rounded-file.ts"
import { readStored } from "./stored-weight.ts"

/** Numbers that are rounded at once: little memory, and the event loop gets its turns. */
const ROUNDED_AT_ONCE = 2 ** 22

/** How weights are rounded. */
export interface Int8Options extends RoundingOptions {
  /** So many numbers of a row are turned together before they are rounded (default: none). */
  readonly turnedTogether?: number
  /** Whether what the rounding of a weight lost is rounded too, in as many columns behind its own (default: of none). */
  readonly twice?: (name: string) => boolean
}

/**
 * A maker of a component's weights `names` in integers of eight bits, as `overIntegers` takes them, or `turnProducts` those that
 * are turned. They are rounded the first time and kept at the place given. Throws as `roundedFile` does.
 */
export function int8Weights(
  place: RoundedPlace,
  { tensors }: Component,
  names: readonly string[],
  { turnedTogether, twice = () => false, ...options }: Int8Options = {},
): Promise<() => Weights> {
  const weights = names.map((path) => {
    const { name, rows } = pieceAt(path)
    const whole = tensors.get(name)!
    const piece = rows === undefined ? whole : storedRows(whole, rows, name)
    return inColumns(path, piece, { turnedTogether, times: twice(name) ? 2 : 1 })
  })
  const rules = turnedTogether === undefined ? "columns" : `columns turned by ${turnedTogether}`
  return roundedFile(place, weights, rules, options)
}

interface ColumnRules {
  readonly turnedTogether: number | undefined
  /** How often it is rounded. */
  readonly times: 1 | 2
}

/** Of each output one column, of a convolution by the places of the kernel and then by channels. */
function inColumns(
  name: string,
  weight: StoredWeight,
  { turnedTogether, times }: ColumnRules,
): RoundedWeight {
  const [out, channels, ...kernel] = weight.shape
  const covered = sizeOf(kernel)
  const wide = channels * covered
  /** The rows of a piece of the weight in integers, as often as they are rounded. */
  const roundedRows = (piece: Tensor) => {
    const { data } = toFloat32(piece)
    // Not the caller's own numbers.
    const rows = data === piece.data ? data.slice() : data
    if (turnedTogether !== undefined) turnBlocks(rows, turnedTogether)
    return Array.from({ length: times }, () => {
      const rounded = toChannelIntegers(rows, piece.shape[0])
      if (times > 1) subtractIntegers(rows, rounded)
      return rounded
    })
  }
  return {
    name,
    weight,
    integers: { dtype: "int8", shape: [wide, times * out] },
    scales: { dtype: "float32", shape: [times * out] },
    async *round(signal) {
      const integers = new Int8Array(times * out * wide)
      const scales = new Float32Array(times * out)
      const rows = Math.max(1, Math.floor(ROUNDED_AT_ONCE / wide))
      for (let start = 0; start < out; start += rows) {
        signal?.throwIfAborted()
        const piece = storedRows(weight, [start, Math.min(start + rows, out)], name)
        for (const [n, rounded] of roundedRows(await readStored(piece)).entries()) {
          integers.set(rounded.integers, (n * out + start) * wide)
          scales.set(rounded.scales, n * out + start)
        }
      }
      const columns = transposed(tensor("int8", [times * out, wide], integers)).data
      if (covered === 1) yield rawBytes(columns)
      else yield rawBytes(placesFirst(columns, { channels, covered, out: times * out }))
      yield rawBytes(scales)
    },
    async agrees(_, scales) {
      const [rows, kept] = await Promise.all([outerRows(weight, name), readStored(scales)])
      return rows.every((row, end) =>
        roundedRows(row).every((rounded, n) => kept.data[n * out + end * (out - 1)] === rounded.scales[0]),
      )
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
