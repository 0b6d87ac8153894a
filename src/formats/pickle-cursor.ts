import { FormatError } from "../ground/errors.ts"
import type { ByteSource } from "./byte-source.ts"

/** Bytes of a source in their order, read a window at a time. */
export interface PickleCursor {
  /** Where the next byte lies in the source. */
  readonly at: number
  /** The next bytes, valid until the next call. */
  take(length: number): Uint8Array
  uint8(): number
  uint16(): number
  uint32(): number
  int32(): number
  /** 64 bits; a length beyond what numbers hold is beyond the file too. */
  uint64(): number
  /** Big-endian, unlike all the rest. */
  float64(): number
  /** UTF-8 text of so many bytes. */
  text(length: number): string
  /** Text up to a line feed, which is passed over. */
  line(): string
}

const WINDOW_BYTES = 2 ** 16
/** Lines are the names of modules and classes. */
const MAX_LINE_BYTES = 1000
const LINE_FEED = 0x0a

/** A cursor from `start` to `end`, both in bytes of the source. Reading on beyond throws a FormatError. */
export function pickleCursor(source: ByteSource, start: number, end: number): PickleCursor {
  const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true })
  let window: Uint8Array = new Uint8Array(0)
  let windowStart = start
  let at = start

  /** Makes the next bytes the beginning of the window's rest, as many as asked for or as there are. */
  const peek = (length: number): Uint8Array => {
    if (at - windowStart + length > window.length) {
      window = source.read(at, Math.min(Math.max(length, WINDOW_BYTES), end - at))
      windowStart = at
    }
    return window.subarray(at - windowStart)
  }
  const take = (length: number): Uint8Array => {
    // Checked first, so that a false length costs no memory.
    if (length > end - at) throw new FormatError(`${source.name} ends within its pickle: fetch it again.`)
    const bytes = peek(length).subarray(0, length)
    at += length
    return bytes
  }
  const view = (length: number): DataView => {
    const bytes = take(length)
    return new DataView(bytes.buffer, bytes.byteOffset, length)
  }
  const text = (bytes: Uint8Array): string => {
    try {
      return utf8.decode(bytes)
    } catch {
      throw new FormatError(`The pickle in ${source.name} has a text that is not UTF-8: fetch it again.`)
    }
  }

  return {
    get at() {
      return at
    },
    take,
    uint8() {
      // One for every instruction: without views of the window, where it holds the byte.
      const next = at - windowStart
      if (next >= window.length) return take(1)[0]
      at++
      return window[next]
    },
    uint16: () => view(2).getUint16(0, true),
    uint32: () => view(4).getUint32(0, true),
    int32: () => view(4).getInt32(0, true),
    uint64: () => Number(view(8).getBigUint64(0, true)),
    float64: () => view(8).getFloat64(0, false),
    text: (length) => text(take(length)),
    line() {
      const ahead = peek(Math.min(MAX_LINE_BYTES, end - at)).subarray(0, MAX_LINE_BYTES)
      const length = ahead.indexOf(LINE_FEED)
      if (length < 0 && ahead.length === MAX_LINE_BYTES)
        throw new FormatError(`The pickle in ${source.name} has a name without an end: fetch it again.`)
      // Without a line feed, the file ends here.
      const line = text(take(length < 0 ? MAX_LINE_BYTES : length))
      take(1)
      return line
    },
  }
}
