import { readFileSync } from "node:fs"
import { describe, expect, it } from "vitest"
import type { ByteSource } from "../../src/formats/byte-source.ts"
import { memorySource } from "../../src/formats/byte-source.ts"
import {
  encodeSafetensors,
  locateTensor,
  readSafetensorsHeader,
  readTensor,
} from "../../src/formats/safetensors.ts"
import type { DType } from "../../src/ground/dtype.ts"
import { arrayOf, bytesPerElement } from "../../src/ground/dtype.ts"
import { FormatError, LimnError } from "../../src/ground/errors.ts"
import { sizeOf } from "../../src/ground/shape.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, tensor, toFloat32 } from "../../src/ground/tensor.ts"
import { dice, fuzzRounds } from "./dice.ts"

const dtypes = Object.keys(arrayOf) as DType[]

function concat(chunks: Iterable<Uint8Array>): Uint8Array {
  return new Uint8Array(Buffer.concat([...chunks]))
}

/** A file with this header, whose length field may lie, before `data` bytes. */
function fileOf(header: string | Uint8Array, data = 0, claimed?: bigint): Uint8Array {
  const text = typeof header === "string" ? new TextEncoder().encode(header) : header
  const out = new Uint8Array(8 + text.length + data)
  new DataView(out.buffer).setBigUint64(0, claimed ?? BigInt(text.length), true)
  out.set(text, 8)
  return out
}

const read = (bytes: Uint8Array) => readSafetensorsHeader(memorySource("x.safetensors", bytes))

describe("files of the reference library", () => {
  const golden = (name: string) =>
    new Uint8Array(readFileSync(new URL(`../golden/safetensors/${name}`, import.meta.url)))
  const every = golden("every-type.safetensors")

  it("are read", () => {
    const file = read(every)
    expect(file.metadata).toEqual({ note: '纸船 "boat"' })
    for (const dtype of dtypes.filter((d) => d !== "bool")) {
      const t = readTensor(file, dtype)
      expect(t.dtype).toBe(dtype)
      expect(t.shape).toEqual([2, 3])
      expect(toFloat32(t).data).toEqual(Float32Array.of(0, 1, 2, 3, 4, 5))
    }
    expect(readTensor(file, "bool")).toEqual(tensor("bool", [3], Uint8Array.of(0, 1, 0)))
    expect(readTensor(file, "scalar")).toEqual(float32([], [-0.5]))
    expect(readTensor(file, "empty")).toEqual(float32([0, 4], []))
    expect(file.tensors.size).toBe(dtypes.length + 2)
  })

  it("are written again to the byte", () => {
    const file = read(every)
    const tensors = new Map([...file.tensors.keys()].reverse().map((name) => [name, readTensor(file, name)]))
    expect(concat(encodeSafetensors(tensors, file.metadata))).toEqual(every)
  })

  it("fail at foreign types only when such a tensor is read", () => {
    const file = read(golden("foreign-types.safetensors"))
    expect(readTensor(file, "weight").data).toEqual(Float32Array.of(1, 2))
    expect(file.tensors.get("scaled")).toMatchObject({ dtype: undefined, storedAs: "F8_E4M3", shape: [3, 1] })
    for (const use of [readTensor, locateTensor]) {
      expect(() => use(file, "scaled")).toThrow(FormatError)
      expect(() => use(file, "scaled")).toThrow(/"scaled" of x.safetensors is stored as "F8_E4M3"/)
      expect(() => use(file, "short")).toThrow(/"I16"/)
      expect(() => use(file, "absent")).toThrow(/x.safetensors has no tensor "absent"/)
    }
  })
})

/** Random tensors of every type, of no to four axes, some of them empty. */
function randomTensors(seed: number): Map<string, Tensor> {
  const { below, pick } = dice(seed)
  const tensors = new Map<string, Tensor>()
  for (let i = below(12); i > 0; i--) {
    const dtype = pick(dtypes)
    const shape = Array.from({ length: below(5) }, () => below(6))
    const bytes = Uint8Array.from({ length: sizeOf(shape) * bytesPerElement(dtype) }, () => below(256))
    const data = new arrayOf[dtype](bytes.buffer, 0, sizeOf(shape))
    const name = pick([
      "unet.conv_in.weight",
      "bias",
      "",
      "纸船",
      'quo"te\\',
      "__proto__",
      "constructor",
      "⛵",
    ])
    tensors.set(`${name}${pick(["", `.${i}`])}`, tensor(dtype, shape, data))
  }
  return tensors
}

const bitsOf = ({ dtype, shape, data }: Tensor) => ({
  dtype,
  shape,
  bytes: Buffer.from(data.buffer, data.byteOffset, data.byteLength).toString("hex"),
})

describe("what is written", () => {
  it.each(Array.from({ length: 200 }, (_, seed) => seed))("is read again, seed %i", (seed) => {
    const tensors = randomTensors(seed)
    const metadata = seed % 2 ? { format: "pt", 提示: "一只纸船" } : undefined
    const bytes = concat(encodeSafetensors(tensors, metadata))
    const file = read(bytes)
    // At an odd place in memory, where no typed array may begin.
    const unaligned = read(concat([new Uint8Array(1), bytes]).subarray(1))
    expect(file.metadata).toEqual(metadata ?? {})
    expect(new Set(file.tensors.keys())).toEqual(new Set(tensors.keys()))
    for (const [name, t] of tensors) {
      expect(bitsOf(readTensor(file, name))).toEqual(bitsOf(t))
      expect(bitsOf(readTensor(unaligned, name))).toEqual(bitsOf(t))
      expect(locateTensor(file, name).offset % bytesPerElement(t.dtype)).toBe(0)
    }
  })

  it("depends on the content, not on its order", () => {
    const tensors = [...randomTensors(5)]
    const forth = concat(encodeSafetensors(new Map(tensors), { a: "1", b: "2" }))
    const back = concat(encodeSafetensors(new Map(tensors.reverse()), { b: "2", a: "1" }))
    expect(back).toEqual(forth)
  })

  it("may come from a record, and shares the tensors' memory", () => {
    const w = float32([2], [1, 2])
    const [header, data] = encodeSafetensors({ w })
    expect(header.length % 8).toBe(0)
    expect(data.buffer).toBe(w.data.buffer)
    expect(readTensor(read(concat([header, data])), "w")).toEqual(w)
  })

  it("must be a tensor, and have a name that is text and not the metadata's", () => {
    const w = float32([2], [1, 2])
    expect(() => encodeSafetensors({ __metadata__: w })).toThrow(LimnError)
    expect(() => encodeSafetensors({ w: { ...w, shape: [3] } })).toThrow(/"w" of shape \[3\] has 2 elements/)
    expect(() => encodeSafetensors({ "w\ud800": w })).toThrow(/"w\\ud800": it has half a surrogate pair/)
    expect(() => encodeSafetensors({ w }, { key: "\ude00" })).toThrow(LimnError)
  })
})

describe("refusals", () => {
  const info = (change: Record<string, unknown> = {}) =>
    JSON.stringify({ dtype: "F32", shape: [2], data_offsets: [0, 8], ...change })
  const one = (change: Record<string, unknown>, data = 8) => fileOf(`{"w":${info(change)}}`, data)

  const cases: [string, Uint8Array, RegExp][] = [
    ["an empty file", new Uint8Array(0), /has 0 bytes, too few/],
    ["a file of 7 bytes", new Uint8Array(7), /has 7 bytes, too few/],
    ["a header beyond the file", fileOf("{}", 0, 3n), /claims a header of 3 bytes but has only 2/],
    ["a header above the limit", fileOf("{}", 0, 100_000_001n), /above the format's limit/],
    ["a length of 64 bits", fileOf("{}", 0, 2n ** 64n - 1n), /18446744073709551615/],
    ["no header at all", fileOf(""), /not a JSON object/],
    ["bytes that are not UTF-8", fileOf(Uint8Array.of(0x7b, 0xff, 0x7d)), /not UTF-8/],
    ["a byte order mark", fileOf("\ufeff{}"), /not a JSON object/],
    ["an array", fileOf("[]"), /not a JSON object/],
    ["half an object", fileOf('{"w":'), /not valid JSON: a value is missing at character 6/],
    ["text after the object", fileOf("{} x"), /the end is missing at character 4/],
    ["a missing comma", fileOf(`{"w":${info()} "v":1}`, 8), /"}" is missing/],
    ["a word that JSON has not", fileOf('{"w":nil}'), /a value is missing at character 6/],
    ["a deep nest", fileOf(`{"w":${"[".repeat(100_000)}`), /more than 32 deep/],
    ["a name twice", fileOf(`{"w":${info()},"w":${info()}}`, 8), /name "w" twice/],
    ["a name twice, once escaped", fileOf(`{"w":${info()},"\\u0077":${info()}}`, 8), /name "w" twice/],
    ["a member twice", fileOf('{"w":{"shape":[2],"shape":[2]}}'), /name "shape" twice/],
    ["metadata that are no object", fileOf('{"__metadata__":["a"]}'), /not an object of strings/],
    [
      "metadata that are no strings",
      fileOf('{"__metadata__":{"a":1}}'),
      /value for "a" that is not a string/,
    ],
    ["a tensor that is no object", fileOf('{"w":[1]}'), /Tensor "w" of x.safetensors is not described/],
    ["a null tensor", fileOf('{"w":null}'), /is not described/],
    ["no dtype", one({ dtype: undefined }), /no dtype/],
    ["a dtype that is no text", one({ dtype: 1 }), /no dtype/],
    ["no shape", one({ shape: undefined }), /shape that is not/],
    ["a negative size", one({ shape: [-2] }), /shape that is not/],
    ["a broken size", one({ shape: [0.5, 4] }), /shape that is not/],
    ["a size in quotes", one({ shape: ["2"] }), /shape that is not/],
    ["a size beyond counting", one({ shape: [2 ** 53] }), /shape that is not/],
    ["sizes whose product is beyond counting", one({ shape: [2 ** 40, 2 ** 40] }), /more elements than can/],
    [
      "sizes whose product is beyond numbers",
      one({ shape: Array(40).fill(2 ** 50) }),
      /more elements than can/,
    ],
    [
      "endless times none",
      one({ shape: [...Array(40).fill(2 ** 50), 0], data_offsets: [0, 0] }, 0),
      /counted/,
    ],
    ["foreign endless sizes", one({ dtype: "F8_E4M3", shape: [2 ** 40, 2 ** 40] }), /more elements than can/],
    ["no offsets", one({ data_offsets: undefined }), /data_offsets that are not/],
    ["one offset", one({ data_offsets: [8] }), /data_offsets that are not/],
    ["three offsets", one({ data_offsets: [0, 4, 8] }), /data_offsets that are not/],
    ["a broken offset", one({ data_offsets: [0, 7.5] }), /data_offsets that are not/],
    ["a negative offset", one({ data_offsets: [-8, 0] }), /data_offsets that are not/],
    ["reversed offsets", one({ data_offsets: [8, 0] }), /lies at \[8, 0\], outside/],
    ["offsets beyond the file", one({ data_offsets: [0, 8] }, 7), /lies at \[0, 8\], outside the 7 bytes/],
    [
      "too few bytes",
      one({ shape: [3] }),
      /"F32" \[3\], which takes 12 bytes, but its data_offsets give it 8/,
    ],
    ["bytes before the first", one({ data_offsets: [1, 9] }, 9), /1 bytes before tensor "w"/],
    ["bytes after the last", one({}, 10), /2 bytes at its end/],
    [
      "tensors that overlap",
      fileOf(`{"a":${info()},"b":${info({ data_offsets: [4, 12] })}}`, 12),
      /"b" of x.safetensors overlaps/,
    ],
    ["tensors on the same bytes", fileOf(`{"a":${info()},"b":${info()}}`, 8), /overlaps/],
  ]

  it.each(cases)("%s", (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(FormatError)
    expect(() => read(bytes)).toThrow(message)
    expect(() => read(bytes)).toThrow("x.safetensors")
    expect(() => read(bytes)).toThrow(/^[^\n]{1,300}\.$/)
  })

  it("names of JavaScript's own are names like others", () => {
    const file = read(fileOf(`{"__metadata__":{"__proto__":"a"},"__proto__":${info()}}`, 8))
    expect(Object.entries(file.metadata)).toEqual([["__proto__", "a"]])
    expect(readTensor(file, "__proto__").shape).toEqual([2])
    expect(() => readTensor(file, "constructor")).toThrow(FormatError)
    expect("a" in {}).toBe(false)
  })

  it("members of the future are passed over, and so are spaces", () => {
    const file = read(fileOf(`{ "w" :\t${info({ strides: [1, { a: [] }] })}\n}   `, 8))
    expect(file.tensors.get("w")).toMatchObject({ dtype: "float32", offset: expect.any(Number), length: 8 })
  })
})

/** A source that counts what is asked of it, and fails the test where that lies outside. */
function watched(bytes: Uint8Array): ByteSource & { asked: () => number } {
  let asked = 0
  const source = memorySource("fuzzed", bytes)
  return {
    ...source,
    asked: () => asked,
    read(offset, length) {
      if (!(offset >= 0 && length >= 0 && offset + length <= bytes.length))
        throw new Error(`read of ${length} at ${offset} outside ${bytes.length}`)
      asked += length
      return source.read(offset, length)
    },
  }
}

describe("damaged files", () => {
  const rounds = fuzzRounds(4000)
  const { below, pick } = dice(20261122)
  const NUMBERS = [
    "0",
    "1",
    "-1",
    "8",
    "0.5",
    "1e3",
    "1e400",
    "-0",
    "9007199254740993",
    "18446744073709551615",
    "4294967296",
  ]
  const TOKENS = [
    "null",
    "{}",
    "[]",
    '""',
    "true",
    '"F32"',
    '"F8_E5M2"',
    '"__proto__"',
    "[[0]]",
    ",",
    "}",
    "]",
    '"',
    "\\",
  ]

  /** One edit of the header's text that keeps most of it JSON. */
  function editHeader(header: string): string {
    const kind = below(5)
    const tokens = [...header.matchAll(kind === 0 ? /\d+/g : /"[^"]*"|\d+|[[\]{}:,]/g)]
    if (tokens.length === 0) return header
    const { 0: token, index } = pick(tokens)
    const replaced = (text: string) => header.slice(0, index) + text + header.slice(index + token.length)
    if (kind === 0) return replaced(pick([...NUMBERS, String(Number(token) + pick([-8, -4, -1, 1, 4, 8]))]))
    if (kind === 1) return replaced(pick(TOKENS))
    if (kind === 2) return replaced("")
    if (kind === 3) return replaced(token + token)
    return replaced(pick(tokens)[0])
  }

  function damage(bytes: Uint8Array): Uint8Array {
    const kind = below(6)
    const out = bytes.slice()
    const headerEnd = 8 + Number(new DataView(out.buffer).getBigUint64(0, true))
    if (kind === 0) {
      for (let i = 1 + below(4); i > 0; i--) out[below(out.length)] ^= 1 << below(8)
      return out
    }
    if (kind === 1) return out.subarray(0, below(out.length))
    if (kind === 2) {
      const from = below(out.length)
      out.copyWithin(below(out.length), from, from + below(64))
      return out
    }
    if (kind === 3) {
      const lie = pick([
        0n,
        1n,
        2n,
        BigInt(out.length),
        BigInt(out.length - 8),
        2n ** 31n,
        2n ** 63n,
        99_999_999n,
      ])
      new DataView(out.buffer).setBigUint64(0, lie, true)
      return out
    }
    let header = new TextDecoder().decode(out.subarray(8, headerEnd))
    for (let i = 1 + below(3); i > 0; i--) header = editHeader(header)
    return concat([fileOf(header), out.subarray(headerEnd)])
  }

  /** Reads everything there is. Returns whether the file was taken. */
  function readAll(bytes: Uint8Array): boolean {
    const source = watched(bytes)
    try {
      const file = readSafetensorsHeader(source)
      if (source.asked() > bytes.length) expect.fail(`${source.asked()} bytes were read of ${bytes.length}`)
      for (const name of file.tensors.keys()) readTensor(file, name)
      return true
    } catch (error) {
      if (error instanceof FormatError) return false
      throw error
    }
  }

  it("give FormatErrors or sound tensors, never a read outside the file", () => {
    const before = Object.getOwnPropertyNames(Object.prototype)
    const whole = Array.from({ length: 500 }, (_, seed) =>
      concat(encodeSafetensors(randomTensors(seed), seed % 3 === 0 ? { format: "pt" } : {})),
    )
    let taken = 0
    for (let i = 0; i < rounds; i++) if (readAll(damage(whole[i % whole.length]))) taken++
    // Damage to tensors' bytes or to names cannot be noticed; most of the rest must be.
    expect(taken).toBeGreaterThan(rounds / 20)
    expect(taken).toBeLessThan(rounds * 0.6)
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before)
  })
})
