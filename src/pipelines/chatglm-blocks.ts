import type { BlockFormat } from "../ground/block-integers.ts"
import { sizeOf } from "../ground/shape.ts"
import type { ParameterSpec } from "../models/parameters/module.ts"

/** Numbers that the text encoder's matrices are kept in. */
export const textPrecisions = ["float32", "int8", "int4"] as const
export type TextPrecision = (typeof textPrecisions)[number]

/**
 * How matrices are rounded in blocks: to eight bits where products of turned rows are not for the processor. These bear larger
 * blocks, which take a third less time.
 */
export const integerFormats: Readonly<Record<Exclude<TextPrecision, "float32">, BlockFormat>> = {
  int8: { bits: 8, blockSize: 128 },
  int4: { bits: 4, blockSize: 32 },
}

/** Layers `first` to before `end`. */
export type LayerBlock = readonly [first: number, end: number]

/** Layers that are loaded together take no more than this, in the form that they run in, or are one. */
export const BLOCK_BYTES = 2 ** 28

/** What reading a text takes beside the layers' weights. */
const WORKING_BYTES = 2 ** 29

/** What the matrices of one layer take in memory while it runs, by what they are kept in. */
export function layerBytes(parameters: readonly ParameterSpec[]): Readonly<Record<TextPrecision, number>> {
  const layer = parameters.filter(({ name }) => layerOf(name) === 0)
  const count = (of: readonly ParameterSpec[]) => of.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  const numbers = count(layer)
  const bytes = ({ bits, blockSize }: BlockFormat) => numbers * (bits / 8 + 4 / blockSize)
  return {
    float32: 4 * numbers,
    int8: bytes(integerFormats.int8) + count(layer.filter(({ name }) => isOfAttention(name))),
    int4: bytes(integerFormats.int4),
  }
}

/** All layers, in blocks of as many as take no more than `mostBytes` together. */
export function layerBlocks(layers: number, bytes: number, mostBytes: number): readonly LayerBlock[] {
  const each = Math.max(1, Math.floor(mostBytes / bytes))
  return Array.from({ length: Math.ceil(layers / each) }, (_, i) => [
    i * each,
    Math.min(layers, (i + 1) * each),
  ])
}

/**
 * Whether a matrix is of attention's layers, which int8 rounds twice. They are a sixth of all numbers, and what their rounding
 * loses is two thirds of what all of it does.
 */
export function isOfAttention(name: string): boolean {
  return name.includes(".self_attention.")
}

/** About what reading a text in such blocks takes: one runs, and the next is being loaded. */
export function readingBytes(layers: number, bytes: number, mostBytes: number): number {
  return Math.min(layers * bytes, Math.max(bytes, 2 * mostBytes)) + WORKING_BYTES
}

/** Whether a tensor is of one of these layers; the embeddings come with the first. */
export function isOfLayers(name: string, [first, end]: LayerBlock): boolean {
  const layer = layerOf(name) ?? 0
  return layer >= first && layer < end
}

/** The layer that a tensor is of, by its full name. */
function layerOf(name: string): number | undefined {
  const found = /^encoder\.layers\.(\d+)\./.exec(name)
  return found === null ? undefined : Number(found[1])
}
