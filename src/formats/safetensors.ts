import type { DType } from "../ground/dtype.ts"
import { bytesPerElement } from "../ground/dtype.ts"
import { FormatError, LimnError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import { formatShape, sizeOf } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { byteLength, rawBytes, tensorFromBytes } from "../ground/tensor.ts"
import type { ByteSource } from "./byte-source.ts"
import type { Json } from "./json.ts"
import { clipped, parseJson, quoted } from "./json.ts"

/** Where a tensor lies in its file, and what it is. */
export interface SafetensorsEntry {
  /** Undefined where the file holds a type that limn has not, such as F8_E4M3. */
  readonly dtype: DType | undefined
  /** The type by the name that the file gives it: "F16", "F8_E4M3". */
  readonly storedAs: string
  readonly shape: Shape
  /** In bytes from the beginning of the file. */
  readonly offset: number
  /** In bytes. */
  readonly length: number
}

/** A safetensors file of which only the header has been read. */
export interface SafetensorsFile {
  readonly source: ByteSource
  readonly metadata: Readonly<Record<string, string>>
  /** By name, in the header's order. */
  readonly tensors: ReadonlyMap<string, SafetensorsEntry>
}

/**
 * The format's names of our element types, in the order in which the reference library writes them: largest first, so
 * that every tensor is aligned to its element though none is padded.
 */
const storedNames: { readonly [D in DType]: string } = {
  int64: "I64",
  float64: "F64",
  float32: "F32",
  int32: "I32",
  bfloat16: "BF16",
  float16: "F16",
  int8: "I8",
  uint8: "U8",
  bool: "BOOL",
}
const dtypes = Object.keys(storedNames) as DType[]
const dtypeStoredAs = new Map(dtypes.map((dtype) => [storedNames[dtype], dtype]))

/** The header's length: an unsigned little-endian integer of 64 bits. */
const PREFIX_BYTES = 8
/** The reference library's limit, which keeps a false length from filling the memory. */
const MAX_HEADER_BYTES = 100_000_000
const METADATA = "__metadata__"

/**
 * Reads a file's header and checks everything that it says: names, types, sizes, and that the tensors cover the rest
 * of the file without gap or overlap, as the format demands. No tensor's bytes are read. Throws a FormatError that
 * names the file and the first fault.
 */
export function readSafetensorsHeader(source: ByteSource): SafetensorsFile {
  const length = headerLength(source)
  const members = headerMembers(source, length)
  const metadata = metadataOf(members.get(METADATA), source.name)
  members.delete(METADATA)

  const data: Extent = { offset: PREFIX_BYTES + length, length: source.size - PREFIX_BYTES - length }
  const tensors = new Map<string, SafetensorsEntry>()
  for (const [name, info] of members)
    tensors.set(name, entryOf(info, data, `Tensor ${quoted(name)} of ${source.name}`))
  checkCoverage(tensors, data, source.name)
  return { source, metadata, tensors }
}

/** Where a tensor lies, for those who will map it rather than read it. Throws as `readTensor` does. */
export function locateTensor(
  file: SafetensorsFile,
  name: string,
): SafetensorsEntry & { readonly dtype: DType } {
  const entry = file.tensors.get(name)
  if (entry === undefined) throw new FormatError(`${file.source.name} has no tensor ${quoted(name)}.`)
  const { dtype } = entry
  if (dtype === undefined)
    throw new FormatError(
      `Tensor ${quoted(name)} of ${file.source.name} is stored as ${quoted(entry.storedAs)}, which limn cannot read: convert the file to F16, BF16 or F32.`,
    )
  return { ...entry, dtype }
}

/**
 * Reads one tensor. Throws a FormatError where the file has none of that name, or holds it in a type that limn does
 * not know.
 */
export function readTensor(file: SafetensorsFile, name: string): Tensor {
  const { dtype, shape, offset, length } = locateTensor(file, name)
  return tensorFromBytes(dtype, shape, file.source.read(offset, length))
}

/**
 * The bytes of a safetensors file in pieces, the tensors' own memory among them: nothing is copied. Equal content
 * gives equal bytes whatever its order, and they are those that the reference library writes. Throws a LimnError
 * where a tensor's data are not its shape's, or a name cannot be written.
 */
export function encodeSafetensors(
  tensors: ReadonlyMap<string, Tensor> | Readonly<Record<string, Tensor>>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array[] {
  const entries = Symbol.iterator in tensors ? [...tensors] : Object.entries(tensors)
  entries.sort(
    ([a, { dtype: p }], [b, { dtype: q }]) => dtypes.indexOf(p) - dtypes.indexOf(q) || compareNames(a, b),
  )
  for (const [name, { shape, data }] of entries)
    if (data.length !== sizeOf(shape))
      throw new LimnError(
        `Tensor ${quoted(name)} of shape ${formatShape(shape)} has ${data.length} elements, not ${sizeOf(shape)}.`,
      )
  // Typed arrays lie in the machine's byte order: little-endian, as the format wants, wherever JavaScript runs.
  const chunks = entries.map(([, { data }]) => rawBytes(data))
  return [encodeSafetensorsHeader(entries, metadata), ...chunks]
}

/**
 * What a safetensors file begins with, for tensors whose bytes follow in this order: for files that are written while
 * their tensors are made. Throws a LimnError where a name cannot be written.
 */
export function encodeSafetensorsHeader(
  tensors: Iterable<readonly [name: string, Pick<Tensor, "dtype" | "shape">]>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array {
  const members: string[] = []
  const described = Object.entries(metadata).sort(([a], [b]) => compareNames(a, b))
  if (described.length > 0)
    members.push(`"${METADATA}":{${described.map(([key, value]) => jsonMember(key, value)).join(",")}}`)
  let end = 0
  for (const [name, { dtype, shape }] of tensors) {
    if (name === METADATA)
      throw new LimnError(`A tensor cannot be named ${METADATA}: the format keeps that name.`)
    const begin = end
    end += byteLength({ dtype, shape })
    members.push(jsonMember(name, { dtype: storedNames[dtype], shape, data_offsets: [begin, end] }))
  }
  return headerBytes(`{${members.join(",")}}`)
}

interface Extent {
  readonly offset: number
  readonly length: number
}

function headerLength(source: ByteSource): number {
  if (source.size < PREFIX_BYTES)
    throw new FormatError(
      `${source.name} has ${source.size} bytes, too few for a safetensors file: it is cut short or something else.`,
    )
  const prefix = source.read(0, PREFIX_BYTES)
  const length = new DataView(prefix.buffer, prefix.byteOffset, PREFIX_BYTES).getBigUint64(0, true)
  if (length > MAX_HEADER_BYTES)
    throw new FormatError(
      `${source.name} claims a header of ${length} bytes, above the format's limit of ${MAX_HEADER_BYTES}: it is no safetensors file.`,
    )
  if (length > source.size - PREFIX_BYTES)
    throw new FormatError(
      `${source.name} claims a header of ${length} bytes but has only ${source.size - PREFIX_BYTES} after its length: it is cut short.`,
    )
  return Number(length)
}

function headerMembers(source: ByteSource, length: number): Map<string, Json> {
  const what = `The header of ${source.name}`
  let text: string
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(
      source.read(PREFIX_BYTES, length),
    )
  } catch (error) {
    if (error instanceof LimnError) throw error
    throw new FormatError(`${what} is not UTF-8 text: it is no safetensors file.`)
  }
  if (!text.startsWith("{")) throw new FormatError(`${what} is not a JSON object: it is no safetensors file.`)
  const members = parseJson(text, what)
  return new Map(members instanceof Map ? members : [])
}

function metadataOf(json: Json | undefined, file: string): Record<string, string> {
  if (json === undefined) return {}
  if (!(json instanceof Map)) throw new FormatError(`${METADATA} in ${file} is not an object of strings.`)
  for (const [key, value] of json)
    if (typeof value !== "string")
      throw new FormatError(`${METADATA} in ${file} has a value for ${quoted(key)} that is not a string.`)
  return Object.fromEntries(json)
}

function entryOf(info: Json, data: Extent, what: string): SafetensorsEntry {
  if (!(info instanceof Map)) throw new FormatError(`${what} is not described by an object.`)
  const storedAs = info.get("dtype")
  if (typeof storedAs !== "string") throw new FormatError(`${what} has no dtype.`)
  const shape = info.get("shape")
  if (!isCounts(shape))
    throw new FormatError(`${what} has a shape that is not a list of whole numbers from 0 on.`)
  const offsets = info.get("data_offsets")
  if (!isCounts(offsets) || offsets.length !== 2)
    throw new FormatError(`${what} has data_offsets that are not two whole numbers from 0 on.`)

  const [begin, end] = offsets
  if (begin > end || end > data.length)
    throw new FormatError(
      `${what} lies at ${formatShape(offsets)}, outside the ${data.length} bytes of data.`,
    )
  const dtype = dtypeStoredAs.get(storedAs)
  checkLength(dtype, shape, end - begin, `${what} is ${quoted(storedAs)} ${clipped(formatShape(shape))}`)
  return { dtype, storedAs, shape, offset: data.offset + begin, length: end - begin }
}

/** The size of a foreign type's elements is unknown, so only its shape is held against overflow. */
function checkLength(dtype: DType | undefined, shape: Shape, length: number, what: string): void {
  const expected = sizeOf(shape) * (dtype === undefined ? 1 : bytesPerElement(dtype))
  if (!Number.isSafeInteger(expected)) throw new FormatError(`${what}, more elements than can be counted.`)
  if (dtype !== undefined && expected !== length)
    throw new FormatError(`${what}, which takes ${expected} bytes, but its data_offsets give it ${length}.`)
}

/** Overlaps would let two names share bytes, and gaps hide bytes from whoever inspects the file. */
function checkCoverage(tensors: ReadonlyMap<string, SafetensorsEntry>, data: Extent, file: string): void {
  const inOrder = [...tensors].sort(([, a], [, b]) => a.offset - b.offset || a.length - b.length)
  let end = data.offset
  for (const [name, { offset, length }] of inOrder) {
    if (offset < end) throw new FormatError(`Tensor ${quoted(name)} of ${file} overlaps the one before it.`)
    if (offset > end)
      throw new FormatError(
        `${file} has ${offset - end} bytes before tensor ${quoted(name)} that belong to none.`,
      )
    end = offset + length
  }
  const left = data.offset + data.length - end
  if (left > 0) throw new FormatError(`${file} has ${left} bytes at its end that belong to no tensor.`)
}

function isCounts(json: Json | undefined): json is readonly number[] {
  return Array.isArray(json) && json.every((n) => Number.isSafeInteger(n) && n >= 0)
}

/** By UTF-16 unit: the same everywhere, unlike a locale's order. */
function compareNames(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

/** One member of the header. Half a surrogate pair has no UTF-8, and the reference library refuses its escape. */
function jsonMember(name: string, value: unknown): string {
  for (const text of [name, value])
    if (typeof text === "string" && /\p{Surrogate}/u.test(text))
      throw new LimnError(
        `A safetensors file cannot hold the text ${quoted(text)}: it has half a surrogate pair.`,
      )
  return `${JSON.stringify(name)}:${JSON.stringify(value)}`
}

/** The length, then the header, with spaces after it so that the data begin at a multiple of eight. */
function headerBytes(json: string): Uint8Array {
  const text = new TextEncoder().encode(json)
  const length = Math.ceil(text.length / 8) * 8
  const out = new Uint8Array(PREFIX_BYTES + length).fill(0x20)
  new DataView(out.buffer).setBigUint64(0, BigInt(length), true)
  out.set(text, PREFIX_BYTES)
  return out
}
