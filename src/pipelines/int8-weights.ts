import { exists, writeFileAtomic } from "#platform"
import { encodeSafetensorsHeader } from "../formats/safetensors.ts"
import type { Ranges } from "../graph/passes/integers.ts"
import { roundingOf } from "../graph/passes/integers.ts"
import type { StoredWeight, Weights } from "../graph/weights.ts"
import { storedWeights } from "../graph/weights.ts"
import { toChannelIntegers } from "../ground/channel-integers.ts"
import { rawBytes, tensor, toFloat32, transposed } from "../ground/tensor.ts"
import type { Component } from "./component.ts"
import { openTensors } from "./component.ts"
import { readStored } from "./stored-weight.ts"
import { withTensorFile } from "./tensor-file.ts"

/** What of a component is rounded, and by what. */
export interface Int8Plan {
  /** Of convolutions, by the names of their weights. */
  readonly ranges: Ranges
  /** Names of the weights of products. */
  readonly products: readonly string[]
  /** Tells this plan and these weights from others. */
  readonly madeFrom: string
}

/**
 * A maker of a component's weights in integers of eight bits, as `overIntegers` takes them. They are rounded the first time
 * and kept in a file at `path`, which is made anew where it is of another plan. Throws a LimnError where it cannot be
 * written.
 */
export async function int8Weights(
  path: string,
  { tensors }: Component,
  plan: Int8Plan,
): Promise<() => Weights> {
  if (!(await isMadeFrom(path, plan.madeFrom))) await writeFileAtomic(path, rounded(tensors, plan))
  const stored = await openTensors([{ path }], (name) => name)
  return () => storedWeights(stored, path)
}

async function isMadeFrom(path: string, madeFrom: string): Promise<boolean> {
  if (!(await exists(path))) return false
  return withTensorFile(path, ({ metadata }) => metadata.madeFrom === madeFrom)
}

type Tensors = ReadonlyMap<string, StoredWeight>

/** The file's bytes: a header, then the tensors of one layer after the other. */
async function* rounded(
  tensors: Tensors,
  { ranges, products, madeFrom }: Int8Plan,
): AsyncGenerator<Uint8Array> {
  const convolutions = [...ranges]
  const described = [
    ...convolutions.flatMap(([name]) => {
      const { shape } = tensors.get(name)!
      return [
        [`${name}.integers`, { dtype: "int8", shape }] as const,
        [`${name}.scales`, { dtype: "float32", shape: [shape[0]] }] as const,
        [`${name}.bias`, { dtype: "int32", shape: [shape[0]] }] as const,
      ]
    }),
    ...products.flatMap((name) => {
      const [out, wide] = tensors.get(name)!.shape
      return [
        [`${name}.integers`, { dtype: "int8", shape: [wide, out] }] as const,
        [`${name}.scales`, { dtype: "float32", shape: [out] }] as const,
      ]
    }),
  ]
  yield encodeSafetensorsHeader(described, { madeFrom })
  for (const [name, { input }] of convolutions) {
    const { shape, data } = toFloat32(await readStored(tensors.get(name)!))
    const { integers, scales } = toChannelIntegers(data, shape[0])
    const bias = tensors.get(name.replace(/weight$/, "bias"))
    const numbers = bias && toFloat32(await readStored(bias)).data
    const unit = roundingOf(input).scale
    yield rawBytes(integers)
    yield rawBytes(scales)
    yield rawBytes(Int32Array.from(scales, (scale, i) => Math.round((numbers?.[i] ?? 0) / (scale * unit))))
  }
  for (const name of products) {
    const { shape, data } = toFloat32(await readStored(tensors.get(name)!))
    const { integers, scales } = toChannelIntegers(data, shape[0])
    yield rawBytes(transposed(tensor("int8", shape, integers)).data)
    yield rawBytes(scales)
  }
}
