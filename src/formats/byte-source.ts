import { FormatError } from "../ground/errors.ts"

/** Bytes that can be read anywhere, a part at a time: an open file, or memory. */
export interface ByteSource {
  /** What error messages call it: a path or an address. */
  readonly name: string
  /** How many bytes there are. */
  readonly size: number
  /**
   * Exactly `length` bytes from `offset` on, or a throw. They may be shared with the source: read them, never
   * change them.
   */
  read(offset: number, length: number): Uint8Array
}

/** A source over bytes in memory, without a copy. Reading outside them throws a FormatError. */
export function memorySource(name: string, bytes: Uint8Array): ByteSource {
  return {
    name,
    size: bytes.length,
    read(offset, length) {
      if (offset < 0 || length < 0 || offset + length > bytes.length)
        throw new FormatError(
          `${name} has ${bytes.length} bytes, and ${length} were wanted from byte ${offset} on: it is cut short, so fetch it again.`,
        )
      return bytes.subarray(offset, offset + length)
    },
  }
}
