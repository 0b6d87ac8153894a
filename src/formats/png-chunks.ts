import { Unzlib } from "fflate"
import { FormatError, messageOf } from "../ground/errors.ts"

/** One chunk of a PNG file: four letters, and its data. */
export interface PngChunk {
  readonly type: string
  readonly data: Uint8Array
}

const SIGNATURE = Uint8Array.of(0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a)
/** A chunk's length, type and checksum. */
const FRAME_BYTES = 12
/** Deflate can grow a slice about a thousandfold, so this bounds what a bomb unpacks before it is noticed. */
const INFLATE_SLICE = 2 ** 16

/**
 * A PNG file's chunks up to IEND, as views of `bytes`. Throws a FormatError where the signature, a length or a
 * checksum is wrong, or the end is missing. `name` is what the message calls the file.
 */
export function readChunks(bytes: Uint8Array, name: string): PngChunk[] {
  if (!SIGNATURE.every((byte, i) => bytes[i] === byte)) throw new FormatError(`${name} is not a PNG file.`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const chunks: PngChunk[] = []
  for (let at = SIGNATURE.length; at + FRAME_BYTES <= bytes.length; ) {
    const end = at + FRAME_BYTES + view.getUint32(at)
    if (end > bytes.length) break
    const type = String.fromCharCode(...bytes.subarray(at + 4, at + 8))
    if (view.getUint32(end - 4) !== crc32(bytes.subarray(at + 4, end - 4)))
      throw new FormatError(`${name} is damaged: the checksum of its chunk at byte ${at} is wrong.`)
    if (type === "IEND") return chunks
    chunks.push({ type, data: bytes.subarray(at + 8, end - 4) })
    at = end
  }
  throw new FormatError(`${name} is cut short: it has ${bytes.length} bytes and no end.`)
}

/** The file that these chunks make; IEND is added. */
export function writeChunks(chunks: readonly PngChunk[]): Uint8Array {
  const all = [...chunks, { type: "IEND", data: new Uint8Array(0) }]
  const out = new Uint8Array(all.reduce((sum, { data }) => sum + FRAME_BYTES + data.length, SIGNATURE.length))
  const view = new DataView(out.buffer)
  out.set(SIGNATURE)
  let at = SIGNATURE.length
  for (const { type, data } of all) {
    const end = at + FRAME_BYTES + data.length
    view.setUint32(at, data.length)
    for (let i = 0; i < 4; i++) out[at + 4 + i] = type.charCodeAt(i)
    out.set(data, at + 8)
    view.setUint32(end - 4, crc32(out.subarray(at + 4, end - 4)))
    at = end
  }
  return out
}

/**
 * Unpacks a zlib stream of at most `limit` bytes. Memory grows with what really comes out, never with what a header
 * claims. Throws a FormatError, with `what` as its subject, where the stream is damaged or longer.
 */
export function inflate(compressed: Uint8Array, limit: number, what: string): Uint8Array {
  const pieces: Uint8Array[] = []
  let length = 0
  const stream = new Unzlib((piece) => {
    pieces.push(piece)
    length += piece.length
  })
  for (let at = 0; at === 0 || at < compressed.length; at += INFLATE_SLICE) {
    try {
      stream.push(compressed.subarray(at, at + INFLATE_SLICE), at + INFLATE_SLICE >= compressed.length)
    } catch (error) {
      throw new FormatError(`${what} cannot be unpacked (${messageOf(error)}): the file is damaged.`)
    }
    if (length > limit) throw new FormatError(`${what} unpacks to more than ${limit} bytes.`)
  }
  return concatBytes(pieces)
}

/** Bytes one after the other in new memory. */
export function concatBytes(parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0))
  let at = 0
  for (const part of parts) {
    out.set(part, at)
    at += part.length
  }
  return out
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  for (let bit = 0; bit < 8; bit++) n = n & 1 ? (n >>> 1) ^ 0xedb88320 : n >>> 1
  return n
})

/** CRC-32 as PNG and zip use it (ISO 3309). */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff
  for (const byte of bytes) crc = crcTable[(crc ^ byte) & 0xff] ^ (crc >>> 8)
  return (crc ^ 0xffffffff) >>> 0
}
