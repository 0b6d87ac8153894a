/** A piece of a message in protobuf's wire format, not yet joined: its bytes in order, and how many they are. */
export interface WireTree {
  readonly size: number
  readonly pieces: readonly Wire[]
}

/** Bytes of a message: joined already, or a tree of pieces that `wireBytes` joins once at the end. */
export type Wire = Uint8Array | WireTree

const VARINT = 0
const LENGTH_DELIMITED = 2
const FIXED32 = 5

const utf8 = new TextEncoder()

/** Pieces one after the other, without copying any of them. The fields of a message in order are the message. */
export function joined(pieces: readonly Wire[]): WireTree {
  let size = 0
  for (const piece of pieces) size += sizeOfWire(piece)
  return { size, pieces }
}

/** A field holding an integer: int32, int64, enum or bool; negative ones take ten bytes. -2^63 to 2^64 - 1. */
export function integerField(field: number, value: number | bigint): Uint8Array {
  const out = tag(field, VARINT)
  pushVarint(out, value)
  return Uint8Array.from(out)
}

/** A field holding one float, rounded to 32 bits. */
export function floatField(field: number, value: number): Uint8Array {
  const head = tag(field, FIXED32)
  const out = new Uint8Array(head.length + 4)
  out.set(head)
  new DataView(out.buffer).setFloat32(head.length, value, true)
  return out
}

/** A field holding bytes or another message. The bytes are kept by reference until `wireBytes`. */
export function bytesField(field: number, value: Wire): WireTree {
  const head = tag(field, LENGTH_DELIMITED)
  pushVarint(head, sizeOfWire(value))
  return joined([Uint8Array.from(head), value])
}

/** A field holding text as UTF-8. */
export function stringField(field: number, value: string): WireTree {
  return bytesField(field, utf8.encode(value))
}

/** A repeated integer field in packed form, which every reader since protobuf 2.3 accepts. */
export function packedIntegersField(field: number, values: readonly (number | bigint)[]): WireTree {
  const out: number[] = []
  for (const value of values) pushVarint(out, value)
  return bytesField(field, Uint8Array.from(out))
}

/** A repeated float field in packed form. */
export function packedFloatsField(field: number, values: readonly number[]): WireTree {
  const view = new DataView(new ArrayBuffer(4 * values.length))
  values.forEach((value, i) => {
    view.setFloat32(4 * i, value, true)
  })
  return bytesField(field, new Uint8Array(view.buffer))
}

/** The bytes of a message, each copied once. */
export function wireBytes(message: Wire): Uint8Array {
  const out = new Uint8Array(sizeOfWire(message))
  copyInto(out, 0, message)
  return out
}

/** How many bytes a message takes. */
export function sizeOfWire(wire: Wire): number {
  return wire instanceof Uint8Array ? wire.length : wire.size
}

function copyInto(out: Uint8Array, offset: number, wire: Wire): number {
  if (wire instanceof Uint8Array) {
    out.set(wire, offset)
    return offset + wire.length
  }
  for (const piece of wire.pieces) offset = copyInto(out, offset, piece)
  return offset
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
