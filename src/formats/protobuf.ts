/** Part of a message in protobuf's wire format, not yet joined: its pieces in order, and how many bytes they are. */
export interface WireTree {
  readonly length: number
  readonly pieces: readonly (Uint8Array | Wire)[]
}

/**
 * Bytes of a message: as the characters of a string, each a byte, which is by far the quickest way to join many small ones;
 * or with large ones among them as a tree, which `wireBytes` joins once at the end.
 */
export type Wire = string | WireTree

/** Fewer bytes than these become a string. */
const LARGE = 1024

const VARINT = 0
const LENGTH_DELIMITED = 2
const FIXED32 = 5

const utf8 = new TextEncoder()

/** Pieces one after the other. The fields of a message in order are the message. */
export function joined(pieces: readonly Wire[]): Wire {
  let length = 0
  let large = false
  for (const piece of pieces) {
    length += piece.length
    large ||= typeof piece !== "string"
  }
  return large ? { length, pieces } : pieces.join("")
}

/** A field holding an integer: int32, int64, enum or bool; negative ones take ten bytes. -2^63 to 2^64 - 1. */
export function integerField(field: number, value: number | bigint): Wire {
  return tag(field, VARINT) + varint(value)
}

/** A field holding one float, rounded to 32 bits. */
export function floatField(field: number, value: number): Wire {
  return tag(field, FIXED32) + stringOf(floatBytes([value]))
}

/** A field holding bytes or another message. Large ones are kept by reference until `wireBytes`. */
export function bytesField(field: number, value: Uint8Array | Wire): Wire {
  const head = tag(field, LENGTH_DELIMITED) + varint(value.length)
  if (typeof value === "string") return head + value
  if (value instanceof Uint8Array && value.length < LARGE) return head + stringOf(value)
  return { length: head.length + value.length, pieces: [head, value] }
}

/** A field holding text as UTF-8. */
export function stringField(field: number, value: string): Wire {
  // The names in a graph are ASCII, which is their UTF-8: TextEncoder would take many times longer.
  return bytesField(field, isAscii(value) ? value : utf8.encode(value))
}

/** A repeated integer field in packed form, which every reader since protobuf 2.3 accepts. */
export function packedIntegersField(field: number, values: readonly (number | bigint)[]): Wire {
  return bytesField(field, values.map(varint).join(""))
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

function copyInto(out: Uint8Array, offset: number, wire: Uint8Array | Wire): void {
  if (typeof wire === "string") {
    for (let i = 0; i < wire.length; i++) out[offset + i] = wire.charCodeAt(i)
  } else if (wire instanceof Uint8Array) out.set(wire, offset)
  else
    for (const piece of wire.pieces) {
      copyInto(out, offset, piece)
      offset += piece.length
    }
}

function isAscii(text: string): boolean {
  for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) > 0x7f) return false
  return true
}

function stringOf(bytes: Uint8Array): string {
  return String.fromCharCode(...bytes)
}

function floatBytes(values: readonly number[]): Uint8Array {
  const view = new DataView(new ArrayBuffer(4 * values.length))
  for (const [i, value] of values.entries()) view.setFloat32(4 * i, value, true)
  return new Uint8Array(view.buffer)
}

function tag(field: number, wireType: number): string {
  return varint(field * 8 + wireType)
}

/** Seven bits a byte, lowest first; the high bit says that more follow. */
function varint(value: number | bigint): string {
  let out = ""
  // Most integers are short; bitwise operators would cut numbers at 32 bits, hence the division for long ones.
  if (typeof value === "number" && value >= 0) {
    let rest = value
    while (rest > 0x7f) {
      out += String.fromCharCode((rest % 0x80) | 0x80)
      rest = Math.floor(rest / 0x80)
    }
    return out + String.fromCharCode(rest)
  }
  let rest = BigInt.asUintN(64, BigInt(value))
  while (rest > 0x7fn) {
    out += String.fromCharCode(Number(rest & 0x7fn) | 0x80)
    rest >>= 7n
  }
  return out + String.fromCharCode(Number(rest))
}
