/** Part of a message in protobuf's wire format, not yet joined: its pieces in order, and how many bytes they are. */
export interface WireTree {
  readonly length: number
  readonly pieces: readonly Wire[]
}

/**
 * Bytes of a message: joined already, or a tree of pieces that `wireBytes` joins once at the end. The many pieces
 * of a few bytes are plain arrays, which are made several times faster than typed ones.
 */
export type Wire = Uint8Array | readonly number[] | WireTree

const VARINT = 0
const LENGTH_DELIMITED = 2
const FIXED32 = 5

const utf8 = new TextEncoder()

/** Pieces one after the other, without copying any of them. The fields of a message in order are the message. */
export function joined(pieces: readonly Wire[]): Wire {
  let length = 0
  for (const piece of pieces) length += piece.length
  return { length, pieces }
}

/** A field holding an integer: int32, int64, enum or bool; negative ones take ten bytes. -2^63 to 2^64 - 1. */
export function integerField(field: number, value: number | bigint): Wire {
  const out = tag(field, VARINT)
  pushVarint(out, value)
  return out
}

/** A field holding one float, rounded to 32 bits. */
export function floatField(field: number, value: number): Wire {
  return joined([tag(field, FIXED32), floatBytes([value])])
}

/** A field holding bytes or another message. The bytes are kept by reference until `wireBytes`. */
export function bytesField(field: number, value: Wire): Wire {
  const head = tag(field, LENGTH_DELIMITED)
  pushVarint(head, value.length)
  return joined([head, value])
}

/** A field holding text as UTF-8. */
export function stringField(field: number, value: string): Wire {
  return bytesField(field, utf8.encode(value))
}

/** A repeated integer field in packed form, which every reader since protobuf 2.3 accepts. */
export function packedIntegersField(field: number, values: readonly (number | bigint)[]): Wire {
  const out: number[] = []
  for (const value of values) pushVarint(out, value)
  return bytesField(field, out)
}

/** A repeated float field in packed form. */
export function packedFloatsField(field: number, values: readonly number[]): Wire {
  return bytesField(field, floatBytes(values))
}

/** The bytes of a message, each copied once. */
export function wireBytes(message: Wire): Uint8Array {
  const out = new Uint8Array(message.length)
  copyInto(out, 0, message)
  return out
}

function copyInto(out: Uint8Array, offset: number, wire: Wire): void {
  if (wire instanceof Uint8Array) out.set(wire, offset)
  else if ("pieces" in wire) {
    for (const piece of wire.pieces) {
      copyInto(out, offset, piece)
      offset += piece.length
    }
  } else for (const byte of wire) out[offset++] = byte
}

function floatBytes(values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length))
  for (const [i, value] of values.entries()) view.setFloat32(4 * i, value, true)
  return new Uint8Array(view.buffer)
}

function tag(field: number, wireType: number): number[] {
  const out: number[] = []
  pushVarint(out, field * 8 + wireType)
  return out
}

/** Seven bits a byte, lowest first; the high bit says that more follow. */
function pushVarint(out: number[], value: number | bigint): void {
  // Most integers are short; bitwise operators would cut numbers at 32 bits, hence the division for long ones.
  if (typeof value === "number" && value >= 0) {
    while (value > 0x7f) {
      out.push((value % 0x80) | 0x80)
      value = Math.floor(value / 0x80)
    }
    out.push(value)
    return
  }
  let rest = BigInt.asUintN(64, BigInt(value))
  while (rest > 0x7fn) {
    out.push(Number(rest & 0x7fn) | 0x80)
    rest >>= 7n
  }
  out.push(Number(rest))
}
