import { FormatError } from "../ground/errors.ts"

/** One field of a message in protobuf's wire format, as yet without its meaning. */
export type WireField =
  /** An integer, enum or bool, read as unsigned; exact up to 2^53. */
  | { readonly field: number; readonly kind: "integer"; readonly value: number }
  /** Text, bytes or another message: a view into the message. */
  | { readonly field: number; readonly kind: "bytes"; readonly value: Uint8Array }
  | { readonly field: number; readonly kind: "float"; readonly value: number }
  | { readonly field: number; readonly kind: "double"; readonly value: number }

/** The kinds by wire type. Types 3 and 4, groups, went out of use before 2008; 6 and 7 never were. */
const kinds: Readonly<Record<number, WireField["kind"]>> = {
  0: "integer",
  1: "double",
  2: "bytes",
  5: "float",
}

/**
 * The fields of a message in order. Nothing is copied, and no length is believed before the bytes are there, so any
 * bytes take time and memory by their own number.
 *
 * @throws FormatError naming `file` where the bytes are no message
 */
export function* wireFields(message: Uint8Array, file: string): Generator<WireField> {
  const view = new DataView(message.buffer, message.byteOffset, message.byteLength)
  let at = 0
  const take = (count: number) => {
    if (count > message.length - at)
      throw new FormatError(`${file} breaks off within a protobuf field; download it again.`)
    at += count
    return at - count
  }
  const varint = () => {
    let value = 0
    for (let digit = 0; digit < 10; digit++) {
      const byte = message[take(1)]
      value += (byte & 0x7f) * 2 ** (7 * digit)
      if (byte < 0x80) return value
    }
    throw new FormatError(`${file} is no protobuf message: an integer takes more than ten bytes.`)
  }
  while (at < message.length) {
    const tag = varint()
    const field = Math.floor(tag / 8)
    const kind = kinds[tag % 8] as WireField["kind"] | undefined
    if (field === 0 || kind === undefined)
      throw new FormatError(
        `${file} is no protobuf message: no field begins with ${tag}; is it the file itself?`,
      )
    if (kind === "integer") yield { field, kind, value: varint() }
    else if (kind === "float") yield { field, kind, value: view.getFloat32(take(4), true) }
    else if (kind === "double") yield { field, kind, value: view.getFloat64(take(8), true) }
    else {
      const length = varint()
      const start = take(length)
      yield { field, kind, value: message.subarray(start, start + length) }
    }
  }
}
