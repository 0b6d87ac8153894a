import type { DType } from "../ground/dtype.ts"
import { bytesPerElement } from "../ground/dtype.ts"
import { FormatError } from "../ground/errors.ts"
import type { Tensor } from "../ground/tensor.ts"
import { tensorFromBytes, zeros } from "../ground/tensor.ts"
import type { ByteSource } from "./byte-source.ts"
import { quoted } from "./json.ts"
import type { PicklePersistent, PickleValue } from "./pickle.ts"
import { readPickle } from "./pickle.ts"
import type { StorageFinder, TorchStorage, TorchTensor } from "./torch-tensors.ts"
import { collectTensors, isCount, storageType } from "./torch-tensors.ts"
import type { Extent, ZipEntry } from "./zip.ts"
import { locateZipEntry, readZipDirectory } from "./zip.ts"

/** A file that `torch.save` has written (.ckpt, .pt, .pth, .bin), of which no tensor has been read. */
export interface TorchFile {
  readonly source: ByteSource
  /** All that was saved, as plain data. */
  readonly value: PickleValue
  /** By name: those of the "state_dict", where there is one, else all that lie in dicts. */
  readonly tensors: ReadonlyMap<string, TorchTensor>
}

const ZIP_SIGNATURE = [0x50, 0x4b, 0x03, 0x04]
const PICKLE_PROTOCOL = 0x80
/** What PyTorch before 1.6 begins a file with: the pickled numbers 0x1950a86a20f9469cfc6c and 1001. */
const MAGIC = 0x1950a86a20f9469cfc6cn
const LEGACY_PROTOCOL = 1001
const MAX_STORAGES = 2 ** 18

/** Whether a file that begins so may be one of PyTorch's: a zip file, or a pickle. */
export function looksLikeTorch(start: Uint8Array): boolean {
  return ZIP_SIGNATURE.every((byte, i) => start[i] === byte) || start[0] === PICKLE_PROTOCOL
}

/**
 * Reads what a PyTorch file says of its tensors: a zip file, or the older form without one. Its pickle is read as data;
 * nothing in it is run or imported. Throws a FormatError that names the file and the first fault.
 */
export function readTorchHeader(source: ByteSource): TorchFile {
  const start = source.read(0, Math.min(source.size, ZIP_SIGNATURE.length))
  if (!looksLikeTorch(start))
    throw new FormatError(
      `${source.name} is neither a zip file nor a pickle, so nothing that torch.save has written.`,
    )
  const { value, findStorage } = start[0] === PICKLE_PROTOCOL ? openLegacy(source) : openZip(source)
  return { source, value, tensors: collectTensors(value, findStorage, source.name) }
}

/** Where a tensor lies. Throws a FormatError where there is none, or it is of a type that limn has not. */
export function locateTorchTensor(file: TorchFile, name: string): TorchTensor & { readonly dtype: DType } {
  const found = file.tensors.get(name)
  if (found === undefined) throw new FormatError(`${file.source.name} has no tensor ${quoted(name)}.`)
  const { dtype } = found
  if (dtype === undefined)
    throw new FormatError(
      `Tensor ${quoted(name)} of ${file.source.name} is stored as ${found.storedAs}, which limn cannot read: convert the file to float16, bfloat16 or float32.`,
    )
  return { ...found, dtype }
}

/**
 * Reads one tensor, in row-major order however it lies in the file. Throws a FormatError as `locateTorchTensor` does,
 * and where an expanded tensor would take more memory than the file.
 */
export function readTorchTensor(file: TorchFile, name: string): Tensor {
  const { dtype, shape, stride, offset, length, contiguous } = locateTorchTensor(file, name)
  const size = bytesPerElement(dtype)
  if (length > file.source.size)
    throw new FormatError(
      `Tensor ${quoted(name)} of ${file.source.name} would take ${length} bytes, more than the file: save it without expanded tensors.`,
    )
  if (contiguous) return tensorFromBytes(dtype, shape, file.source.read(offset, length))
  const spanned = shape.reduce((sum, count, axis) => sum + (count - 1) * stride[axis], 1)
  const { data } = tensorFromBytes(dtype, [spanned], file.source.read(offset, spanned * size))
  const out = zeros(dtype, shape)
  const last = shape.length - 1
  // One row at a time: `index` is the row's place along all axes but the last.
  const index = shape.map(() => 0)
  for (let at = 0; at < out.data.length; at += shape[last]) {
    const first = index.reduce((sum, i, axis) => sum + i * stride[axis], 0)
    for (let i = 0; i < shape[last]; i++) out.data[at + i] = data[first + i * stride[last]]
    for (let axis = last - 1; axis >= 0 && ++index[axis] === shape[axis]; axis--) index[axis] = 0
  }
  return out
}

interface Opened {
  readonly value: PickleValue
  readonly findStorage: StorageFinder
}

function openZip(source: ByteSource): Opened {
  const entries = readZipDirectory(source)
  const pickled = [...entries.keys()].find((name) => /^[^/]+\/data\.pkl$/.test(name))
  if (pickled === undefined)
    throw new FormatError(
      `${source.name} is a zip file without data.pkl, so nothing that torch.save has written.`,
    )
  const root = pickled.slice(0, -"data.pkl".length)
  const extentOf = (name: string, entry: ZipEntry | undefined): Extent => {
    if (entry === undefined)
      throw new FormatError(
        `${source.name} holds no ${quoted(name)}, which its data.pkl asks for: fetch it again.`,
      )
    return locateZipEntry(source, name, entry)
  }
  checkByteOrder(source, root, entries)
  const { offset, length } = extentOf(pickled, entries.get(pickled))
  const { value } = readPickle(source, offset, offset + length)
  const found = new Map<string, Extent>()
  const findStorage = (id: PickleValue): TorchStorage => {
    const { key, type, count } = storageOf(id, source)
    const name = `${root}data/${key}`
    const extent = found.get(name) ?? extentOf(name, entries.get(name))
    found.set(name, extent)
    if (extent.length < count * type.bytesPerElement)
      throw new FormatError(
        `${source.name} holds ${extent.length} bytes in ${quoted(name)}, and its data.pkl asks for ${count} of ${type.storedAs}: fetch it again.`,
      )
    return { ...type, offset: extent.offset, length: count * type.bytesPerElement }
  }
  return { value, findStorage }
}

function checkByteOrder(source: ByteSource, root: string, entries: ReadonlyMap<string, ZipEntry>): void {
  const name = `${root}byteorder`
  const entry = entries.get(name)
  if (entry === undefined) return
  const { offset, length } = locateZipEntry(source, name, entry)
  const order = new TextDecoder().decode(source.read(offset, Math.min(length, 16)))
  if (order !== "little") throw bigEndian(source)
}

function bigEndian(source: ByteSource): FormatError {
  return new FormatError(
    `${source.name} keeps its numbers in big-endian order, which limn does not read: save it again on another machine.`,
  )
}

/** Five pickles (magic, protocol, the machine, what was saved, keys of the storages), then each storage. */
function openLegacy(source: ByteSource): Opened {
  const magic = readPickle(source)
  if (magic.value !== MAGIC)
    throw new FormatError(`${source.name} is a pickle, but nothing that torch.save has written.`)
  const protocol = readPickle(source, magic.end)
  if (protocol.value !== LEGACY_PROTOCOL)
    throw new FormatError(
      `${source.name} has a version that PyTorch never had: it is damaged, so fetch it again.`,
    )
  const machine = readPickle(source, protocol.end)
  if (machine.value instanceof Map && machine.value.get("little_endian") === false) throw bigEndian(source)
  const saved = readPickle(source, machine.end)
  const keys = readPickle(source, saved.end)
  const storages = placeStorages(source, keys.value, keys.end, saved.persistent)
  const findStorage = (id: PickleValue): TorchStorage => {
    const { key, type, count, view } = storageOf(id, source)
    const whole = storages.get(key)
    const size = type.bytesPerElement
    if (whole === undefined || (view + count) * size > whole.length)
      throw new FormatError(
        `${source.name} lacks a part of storage ${quoted(key)}: it is damaged, so fetch it again.`,
      )
    return { ...type, offset: whole.offset + view * size, length: count * size }
  }
  return { value: saved.value, findStorage }
}

/** The storages lie in the order of their keys, each after its number of elements. */
function placeStorages(
  source: ByteSource,
  keys: PickleValue,
  start: number,
  ids: readonly PicklePersistent[],
): Map<string, Extent> {
  if (!Array.isArray(keys) || keys.length > MAX_STORAGES)
    throw new FormatError(`${source.name} has no list of its storages: it is damaged, so fetch it again.`)
  const sizes = new Map<string, number>()
  for (const { id } of ids) {
    // Classes of modules are kept outside the pickle too, and have no bytes.
    if (!Array.isArray(id) || id[0] !== "storage") continue
    const { key, type } = storageOf(id, source)
    sizes.set(key, type.bytesPerElement)
  }
  const extents = new Map<string, Extent>()
  let offset = start
  for (const key of keys) {
    const size = sizes.get(String(key))
    if (typeof key !== "string" || size === undefined)
      throw new FormatError(
        `${source.name} has a storage that it does not describe: it is damaged, so fetch it again.`,
      )
    const count = source.read(offset, 8)
    const length = Number(new DataView(count.buffer, count.byteOffset, 8).getBigUint64(0, true)) * size
    offset += 8
    if (offset + length > source.size)
      throw new FormatError(
        `${source.name} ends within storage ${quoted(key)}: it is cut short, so fetch it again.`,
      )
    extents.set(key, { offset, length })
    offset += length
  }
  return extents
}

interface StorageId {
  readonly key: string
  readonly type: Pick<TorchStorage, "storedAs" | "bytesPerElement">
  /** Elements. */
  readonly count: number
  /** Elements before it in the storage that it is a view of, as PyTorch once had. */
  readonly view: number
}

/** ("storage", class, key, device, elements), and in the older form [key, offset, elements] of a view, or None. */
function storageOf(id: PickleValue, source: ByteSource): StorageId {
  const [tag, storageClass, key, , count, view = null] = Array.isArray(id) ? id : []
  const type = storageType(storageClass)
  if (tag !== "storage" || typeof key !== "string" || type === undefined || !isCount(count))
    throw new FormatError(
      `${source.name} has a tensor whose storage is described as PyTorch does not: fetch it again.`,
    )
  if (!Array.isArray(view)) return { key, type, count, view: 0 }
  const [, viewOffset, viewCount] = view
  if (!isCount(viewOffset) || !isCount(viewCount))
    throw new FormatError(`${source.name} has a view of a storage without a place: fetch it again.`)
  return { key, type, count: viewCount, view: viewOffset }
}
