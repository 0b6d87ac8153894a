import { openByteSource } from "#platform"
import type { ByteSource } from "../formats/byte-source.ts"
import type { PickleValue } from "../formats/pickle.ts"
import { locateTensor, readSafetensorsHeader, readTensor } from "../formats/safetensors.ts"
import {
  locateTorchTensor,
  looksLikeTorch,
  readTorchHeader,
  readTorchTensor,
} from "../formats/torch-checkpoint.ts"
import type { StoredWeight } from "../graph/weights.ts"
import type { DType } from "../ground/dtype.ts"
import { FormatError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"

/** A file of tensors, of either format, of which no tensor has been read. */
export interface TensorFile {
  readonly path: string
  readonly format: "safetensors" | "PyTorch"
  /** Of the whole file. */
  readonly bytes: number
  /** Texts that the file carries beside its tensors. */
  readonly metadata: Readonly<Record<string, string>>
  readonly tensors: ReadonlyMap<string, TensorEntry>
  /**
   * One tensor as graphs take it: a byte range of the file, or a copy where its elements lie apart, as those of a
   * transposed PyTorch tensor do. Throws a FormatError where limn has not its type, or where all copies would take more
   * memory than the file.
   */
  stored(name: string): StoredWeight
  /** Reads one tensor, while the file is open. Throws as `stored` does. */
  read(name: string): Tensor
}

/** What a file says of one tensor. */
export interface TensorEntry {
  /** Undefined where the file holds a type that limn has not. */
  readonly dtype: DType | undefined
  /** The type by the name that the format gives it: "F16", "float16". */
  readonly storedAs: string
  readonly shape: Shape
  /** In bytes from the beginning of the file. */
  readonly offset: number
  /** In bytes. */
  readonly length: number
}

/** Where a safetensors file begins its header: after the header's length. */
const HEADER_START = 8

/**
 * Opens a file of tensors for as long as `use` takes: safetensors or PyTorch's, by what it begins with, since names
 * tell little. Throws a LimnError where there is no such file, a FormatError where it is of neither format, or damaged.
 */
export async function withTensorFile<T>(path: string, use: (file: TensorFile) => T): Promise<T> {
  const source = await openByteSource(path)
  try {
    return use(openTensors(source))
  } finally {
    source.close()
  }
}

function openTensors(source: ByteSource): TensorFile {
  const { name: path, size: bytes } = source
  const start = source.read(0, Math.min(bytes, HEADER_START + 1))
  // A header of some lengths begins as a pickle does, so that it is looked for first.
  if (start[HEADER_START] !== "{".charCodeAt(0)) {
    if (looksLikeTorch(start)) return openTorch(source)
    if (!/\.safetensors$/i.test(path))
      throw new FormatError(`${path} is neither a safetensors file nor one of PyTorch's; fetch it again.`)
  }
  const file = readSafetensorsHeader(source)
  const stored = (name: string): StoredWeight => {
    const { dtype, shape, offset, length } = locateTensor(file, name)
    return { dtype, shape, storage: { kind: "file", file: path, offset, length } }
  }
  return {
    path,
    format: "safetensors",
    bytes,
    metadata: file.metadata,
    tensors: file.tensors,
    stored,
    read: (name) => readTensor(file, name),
  }
}

function openTorch(source: ByteSource): TensorFile {
  const { name: path, size: bytes } = source
  const file = readTorchHeader(source)
  let copied = 0
  const stored = (name: string): StoredWeight => {
    const { dtype, shape, offset, length, contiguous } = locateTorchTensor(file, name)
    if (contiguous) return { dtype, shape, storage: { kind: "file", file: path, offset, length } }
    // A small file can describe any number of large views.
    copied += length
    if (copied > bytes)
      throw new FormatError(
        `The views in ${path} would take more memory than the file: save it with contiguous tensors.`,
      )
    return { dtype, shape, storage: { kind: "memory", tensor: readTorchTensor(file, name) } }
  }
  return {
    path,
    format: "PyTorch",
    bytes,
    metadata: textsOf(file.value),
    tensors: file.tensors,
    stored,
    read: (name) => readTorchTensor(file, name),
  }
}

/** The texts of a dict, by their keys. */
function textsOf(value: PickleValue): Readonly<Record<string, string>> {
  const entries = value instanceof Map ? [...value] : []
  return Object.fromEntries(
    entries.filter((entry): entry is [string, string] => entry.every((part) => typeof part === "string")),
  )
}
