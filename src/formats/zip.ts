import { FormatError } from "../ground/errors.ts"
import type { ByteSource } from "./byte-source.ts"
import { quoted } from "./json.ts"

/** A file inside a zip file, as the directory at the end describes it. */
export interface ZipEntry {
  /** Of its own header, in bytes from the beginning of the zip file. */
  readonly headerOffset: number
  /** In bytes, as it lies in the zip file. */
  readonly length: number
  /** Its bytes lie there as they are, neither compressed nor encrypted. */
  readonly stored: boolean
}

/** A byte range of a file. */
export interface Extent {
  readonly offset: number
  readonly length: number
}

const END_SIGNATURE = 0x06054b50
const END_BYTES = 22
const MAX_COMMENT_BYTES = 0xffff
const END64_SIGNATURE = 0x06064b50
const END64_BYTES = 56
const LOCATOR_SIGNATURE = 0x07064b50
const LOCATOR_BYTES = 20
const ENTRY_SIGNATURE = 0x02014b50
const ENTRY_BYTES = 46
const HEADER_SIGNATURE = 0x04034b50
const HEADER_BYTES = 30
/** Numbers that are too large for their field stand elsewhere, as 64 bits. */
const ELSEWHERE_16 = 0xffff
const ELSEWHERE_32 = 0xffffffff
const EXTRA_64 = 1

/** A checkpoint of 100,000 tensors has a directory of some ten megabytes. */
const MAX_DIRECTORY_BYTES = 2 ** 26

/**
 * The files inside a zip file (zip64 too), by name. Only the directory is read. Throws a FormatError where there is none
 * or it contradicts itself.
 */
export function readZipDirectory(source: ByteSource): Map<string, ZipEntry> {
  const { count, offset, length } = findDirectory(source)
  if (length > MAX_DIRECTORY_BYTES) throw damaged(source, "a directory larger than any checkpoint's")
  const view = viewOf(readExtent(source, { offset, length }))
  const utf8 = new TextDecoder()
  const entries = new Map<string, ZipEntry>()
  for (let at = 0, i = 0; i < count; i++) {
    if (at + ENTRY_BYTES > length || view.getUint32(at, true) !== ENTRY_SIGNATURE)
      throw damaged(source, `a directory of ${i} files where it says ${count}`)
    const nameBytes = view.getUint16(at + 28, true)
    const extraBytes = view.getUint16(at + 30, true)
    const next = at + ENTRY_BYTES + nameBytes + extraBytes + view.getUint16(at + 32, true)
    if (next > length) throw damaged(source, "a directory that ends within an entry")
    const name = utf8.decode(part(view, at + ENTRY_BYTES, nameBytes))
    if (entries.has(name)) throw damaged(source, `the file ${quoted(name)} twice`)
    entries.set(name, entryAt(view, at, part(view, at + ENTRY_BYTES + nameBytes, extraBytes)))
    at = next
  }
  return entries
}

/**
 * Where the bytes of a file inside a zip file lie. Throws a FormatError where they are compressed, or not there.
 * Checksums are not looked at, since that would take reading every weight.
 */
export function locateZipEntry(source: ByteSource, name: string, entry: ZipEntry): Extent {
  if (!entry.stored)
    throw new FormatError(
      `${source.name} holds ${quoted(name)} compressed, and weights are read where they lie: save it again with torch.save.`,
    )
  const header = viewOf(readExtent(source, { offset: entry.headerOffset, length: HEADER_BYTES }))
  if (header.getUint32(0, true) !== HEADER_SIGNATURE)
    throw damaged(source, `no file where ${quoted(name)} should be`)
  // Its name and its extra field are not those of the directory, and neither are their lengths.
  const skipped = HEADER_BYTES + header.getUint16(26, true) + header.getUint16(28, true)
  const extent = { offset: entry.headerOffset + skipped, length: entry.length }
  if (extent.offset + extent.length > source.size) throw damaged(source, `only a part of ${quoted(name)}`)
  return extent
}

/** What the end of a zip file says of its directory. */
function findDirectory(source: ByteSource): Extent & { readonly count: number } {
  const tailBytes = Math.min(source.size, END_BYTES + MAX_COMMENT_BYTES)
  const tailStart = source.size - tailBytes
  const tail = viewOf(source.read(tailStart, tailBytes))
  let end = tailBytes - END_BYTES
  // The comment after it may hold anything, so its length has to fit as well.
  while (end >= 0 && !(tail.getUint32(end, true) === END_SIGNATURE && commentFits(tail, end))) end--
  if (end < 0) throw new FormatError(`${source.name} is a zip file that is cut short: fetch it again.`)

  const count = tail.getUint16(end + 10, true)
  const length = tail.getUint32(end + 12, true)
  const offset = tail.getUint32(end + 16, true)
  if (count !== ELSEWHERE_16 && length !== ELSEWHERE_32 && offset !== ELSEWHERE_32)
    return { count, length, offset }

  const locatorAt = tailStart + end - LOCATOR_BYTES
  const locator = viewOf(readExtent(source, { offset: locatorAt, length: LOCATOR_BYTES }))
  if (locator.getUint32(0, true) !== LOCATOR_SIGNATURE) return { count, length, offset }
  const end64 = viewOf(readExtent(source, { offset: uint64(locator, 8), length: END64_BYTES }))
  if (end64.getUint32(0, true) !== END64_SIGNATURE) throw damaged(source, "no directory where it should be")
  return { count: uint64(end64, 32), length: uint64(end64, 40), offset: uint64(end64, 48) }
}

function commentFits(tail: DataView, end: number): boolean {
  return end + END_BYTES + tail.getUint16(end + 20, true) === tail.byteLength
}

function entryAt(view: DataView, at: number, extra: Uint8Array): ZipEntry {
  const packed = view.getUint32(at + 20, true)
  const unpacked = view.getUint32(at + 24, true)
  const offset = view.getUint32(at + 42, true)
  // Only the numbers that are missing stand in the extra field, in this order.
  const elsewhere = [unpacked, packed, offset].map((n) => n === ELSEWHERE_32)
  const wide = numbers64(extra)
  const [, length, headerOffset] = [unpacked, packed, offset].map((narrow, i) => {
    const place = elsewhere.slice(0, i).filter(Boolean).length
    return elsewhere[i] ? (wide[place] ?? narrow) : narrow
  })
  const encrypted = (view.getUint16(at + 8, true) & 1) !== 0
  return { headerOffset, length, stored: view.getUint16(at + 10, true) === 0 && !encrypted }
}

/** The numbers of the extra field for zip64, where there is one. */
function numbers64(extra: Uint8Array): number[] {
  const view = viewOf(extra)
  for (let at = 0; at + 4 <= extra.length; ) {
    const length = view.getUint16(at + 2, true)
    if (view.getUint16(at, true) === EXTRA_64 && at + 4 + length <= extra.length)
      return Array.from({ length: Math.floor(length / 8) }, (_, i) => uint64(view, at + 4 + 8 * i))
    at += 4 + length
  }
  return []
}

/** Beyond 2^53 it is not exact, and beyond every file. */
function uint64(view: DataView, at: number): number {
  return at + 8 <= view.byteLength ? Number(view.getBigUint64(at, true)) : 0
}

function readExtent(source: ByteSource, { offset, length }: Extent): Uint8Array {
  if (offset < 0 || offset + length > source.size) throw damaged(source, "parts beyond its end")
  return source.read(offset, length)
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length)
}

function part(view: DataView, at: number, length: number): Uint8Array {
  return new Uint8Array(view.buffer, view.byteOffset + at, length)
}

function damaged(source: ByteSource, what: string): FormatError {
  return new FormatError(`${source.name} is a zip file with ${what}: it is damaged, so fetch it again.`)
}
