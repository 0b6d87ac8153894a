import { readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it } from "vitest"
import type { ByteSource } from "../../src/formats/byte-source.ts"
import { memorySource } from "../../src/formats/byte-source.ts"
import type { PickleValue } from "../../src/formats/pickle.ts"
import { isObject, readPickle } from "../../src/formats/pickle.ts"
import { locateTorchTensor, readTorchHeader, readTorchTensor } from "../../src/formats/torch-checkpoint.ts"
import type { DType } from "../../src/ground/dtype.ts"
import { arrayOf } from "../../src/ground/dtype.ts"
import { FormatError } from "../../src/ground/errors.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, tensor, toFloat32 } from "../../src/ground/tensor.ts"
import { dice, fuzzRounds } from "./dice.ts"
import { goldenFolder, goldenNames, goldenTensors } from "./golden.ts"
import { pickled, torchCheckpoint, torchZip, zipOf } from "./torch-writer.ts"

const golden = (name: string) => new Uint8Array(readFileSync(join(goldenFolder, "torch", `${name}.pt`)))
const read = (bytes: Uint8Array) => readTorchHeader(memorySource("x.ckpt", bytes))
const numbers = (...values: number[]) => Float32Array.from(values)
const bytesOf = (...values: number[]) => new Uint8Array(numbers(...values).buffer)

const caught = (run: () => unknown): unknown => {
  try {
    run()
  } catch (error) {
    return error
  }
}

describe.each(["zip", "legacy"])("%s files of PyTorch", (form) => {
  it("are read in every type", () => {
    const file = read(golden(`${form}-types`))
    const dtypes = (Object.keys(arrayOf) as DType[]).filter((dtype) => dtype !== "bool")
    for (const dtype of dtypes) {
      const t = readTorchTensor(file, dtype)
      expect({ dtype: t.dtype, shape: t.shape }).toEqual({ dtype, shape: [2, 3] })
      expect(toFloat32(t).data).toEqual(numbers(0, 1, 2, 3, 4, 5))
    }
    expect(readTorchTensor(file, "bool")).toEqual(tensor("bool", [3], Uint8Array.of(0, 1, 0)))
    expect(readTorchTensor(file, "scalar")).toEqual(float32([], [-0.5]))
    expect(readTorchTensor(file, "empty")).toEqual(float32([0, 4], []))
  })

  it("fail at foreign types only when such a tensor is read", () => {
    const file = read(golden(`${form}-types`))
    for (const name of ["int16", "complex64", ...(form === "zip" ? ["float8_e4m3fn"] : [])]) {
      expect(file.tensors.get(name)).toMatchObject({ dtype: undefined, storedAs: name, shape: [3] })
      expect(() => readTorchTensor(file, name)).toThrow(
        `"${name}" of x.ckpt is stored as ${name}, which limn`,
      )
    }
    expect(() => readTorchTensor(file, "absent")).toThrow(/x.ckpt has no tensor "absent"/)
  })

  it("give views of one storage in row-major order, and byte ranges where they are", () => {
    const bytes = golden(`${form}-views`)
    const file = read(bytes)
    const expected = goldenTensors("torch/expected.safetensors")
    expect(
      Object.fromEntries([...file.tensors.keys()].map((name) => [name, readTorchTensor(file, name)])),
    ).toEqual(expected)
    const contiguous = [...file.tensors].filter(([, t]) => t.contiguous).map(([name]) => name)
    expect(contiguous).toEqual(["base", "row", "tail"])
    for (const name of contiguous) {
      const { offset, length } = locateTorchTensor(file, name)
      const { data } = expected[name]
      expect(Buffer.from(bytes.subarray(offset, offset + length))).toEqual(
        Buffer.from(data.buffer, data.byteOffset, data.byteLength),
      )
    }
  })

  it("give the state dict of a training checkpoint, and the rest as data", () => {
    const file = read(golden(`${form}-checkpoint`))
    expect([...file.tensors.keys()]).toEqual(["model.weight", "model.bias"])
    expect(readTorchTensor(file, "model.weight")).toEqual(float32([3, 2], [0, 1, 2, 3, 4, 5]))
    const root = file.value as Map<string, PickleValue>
    expect(Object.fromEntries(root)).toMatchObject({
      epoch: 3,
      global_step: 2 ** 40,
      seed: 2n ** 70n,
      rate: 0.25,
      done: true,
      rest: null,
      type: { kind: "global", name: "torch.float16" },
    })
    const note = root.get("note")
    expect(isObject(note) && note.name).toBe("__main__.Note")
    expect(isObject(note) && note.state).toEqual(new Map([["text", "纸船"]]))
  })
})

it.each([3, 4, 5])("pickles of protocol %i are read, nested dicts under names with dots", (protocol) => {
  const file = read(golden(`protocol-${protocol}`))
  expect([...file.tensors.keys()]).toEqual(["layer.weight", "layer.0"])
  expect(readTorchTensor(file, "layer.weight")).toEqual(float32([2], [1, 1]))
  expect((file.value as Map<string, PickleValue>).get("bytes")).toEqual(new Uint8Array(300).fill(1))
})

it("a pickled module holds no state dict, and is data too", () => {
  const file = read(golden("module"))
  expect(file.tensors.size).toBe(0)
  expect(isObject(file.value) && file.value.name).toBe("torch.nn.modules.linear.Linear")
})

describe("what the tests' own writer makes", () => {
  const tensors = new Map<string, Tensor>([
    ["__proto__", float32([2, 2], [1, 2, 3, 4])],
    ["b.weight", tensor("int64", [1], BigInt64Array.of(-5n))],
    ["constructor", tensor("float16", [3], Uint16Array.of(1, 2, 3))],
  ])

  it.each([{}, { zip64: true }, { align: 1 }])("is read, %j", (options) => {
    const file = read(torchCheckpoint(tensors, options))
    expect(new Map([...file.tensors.keys()].map((name) => [name, readTorchTensor(file, name)]))).toEqual(
      tensors,
    )
    expect("weight" in {}).toBe(false)
  })
})

describe("refusals", () => {
  const one = (pickle: Buffer, storage = bytesOf(1, 2, 3, 4), options = {}) =>
    torchZip(pickled.whole(pickled.dict([["w", pickle]])), { "0": storage }, options)
  const plain = (...pieces: (string | Buffer)[]) =>
    torchZip(pickled.whole(...pieces.map((piece) => Buffer.from(piece as string, "latin1"))))
  const w = pickled.tensor("0", "float32", 4, [2, 2])
  const legacy = golden("legacy-types")
  const edited = (bytes: Uint8Array, from: string, to: string) =>
    Buffer.from(Buffer.from(bytes).toString("latin1").replace(from, to), "latin1")

  const cases: [string, Uint8Array, RegExp][] = [
    ["a page of text", Buffer.from("<html>"), /is neither a zip file nor a pickle/],
    ["nothing", Buffer.alloc(0), /is neither a zip file nor a pickle/],
    ["a zip cut short", golden("zip-types").subarray(0, 3000), /is a zip file that is cut short/],
    ["a zip of something else", zipOf([["notes.txt", Buffer.from("hi")]]), /is a zip file without data.pkl/],
    [
      "a zip with a file twice",
      zipOf([
        ["a", Buffer.of(1)],
        ["a", Buffer.of(2)],
      ]),
      /the file "a" twice/,
    ],
    ["compressed entries", one(w, undefined, { method: 8 }), /compressed.*save it again with torch.save/],
    ["big-endian numbers", one(w, undefined, { byteOrder: "big" }), /big-endian/],
    [
      "big-endian numbers of old",
      edited(legacy, "little_endianq\x02\x88", "little_endianq\x02\x89"),
      /big-endian/,
    ],
    [
      "a missing storage",
      torchZip(pickled.whole(pickled.dict([["w", w]]))),
      /holds no "archive\/data\/0", which/,
    ],
    [
      "a storage too small",
      one(w, bytesOf(1, 2, 3)),
      /12 bytes in "archive\/data\/0".*asks for 4 of float32/,
    ],
    ["a shape beyond its storage", one(pickled.tensor("0", "float32", 4, [2, 3])), /\[2, 3\] reaches beyond/],
    ["strides beyond its storage", one(pickled.tensor("0", "float32", 4, [2, 2], [3, 1])), /reaches beyond/],
    ["a first element beyond", one(pickled.tensor("0", "float32", 4, [2], [1], 3)), /reaches beyond/],
    [
      "endless sizes",
      one(pickled.tensor("0", "float32", 4, Array(9).fill(2 ** 30), Array(9).fill(0))),
      /beyond/,
    ],
    [
      "a negative stride",
      one(pickled.tensor("0", "float32", 4, [2, 2], [-2, 1])),
      /not lists of whole numbers/,
    ],
    ["a negative start", one(pickled.tensor("0", "float32", 4, [2], [1], -1)), /begins at no whole number/],
    ["a legacy file cut short", legacy.subarray(0, -9), /ends within storage|cut short/],
    ["a legacy file cut in its pickle", legacy.subarray(0, 300), /ends within its pickle/],
    ["another pickle", pickled.whole(pickled.int(3)), /is a pickle, but nothing that torch.save has written/],
    ["a pickle of protocol 0", Buffer.from("\x80\x00.", "latin1"), /has protocol 0, and limn reads 2 to 5/],
    ["no pickle in the zip", torchZip(Buffer.from("hello")), /does not begin as one/],
    ["a text beyond the file", plain("X\xff\xff\xff\x7f"), /ends within its pickle/],
    ["a text of 2^64 bytes", plain("\x8d\xff\xff\xff\xff\xff\xff\xff\xff"), /ends within its pickle/],
    ["a text that is not UTF-8", plain("X\x01\0\0\0\xff"), /not UTF-8/],
    ["a name without an end", plain(`c${"a".repeat(2000)}`), /a name without an end/],
    ["an empty stack", plain("\x85"), /a value that is not there/],
    ["a pop below a mark", plain("N(0"), /a value that is not there/],
    ["a missing mark", plain("t"), /a mark that is not there/],
    ["an unknown memory", plain("h\x07"), /recalls a value/],
    ["a key without a value", plain("}(Nu"), /a key without a value/],
    ["items for a number", plain("K\x01(NNu"), /holds none/],
    ["a call of a number", plain("K\x01)R"), /cannot be called/],
    ["a call with a number", plain("cos\nsystem\nK\x01R"), /cannot be called/],
    ["a class named by a number", plain("K\x01K\x02\x93"), /something else than text/],
    ["a foreign instruction", plain("i"), /instruction 105/],
    ["more lists than any checkpoint", plain("]".repeat(2 ** 20 + 1)), /more parts than/],
    ["more instructions than any checkpoint", plain("N".repeat(2 ** 23)), /more instructions than/],
  ]

  it.each(cases)("%s", (_, bytes, message) => {
    const error = caught(() => read(bytes))
    expect(error).toBeInstanceOf(FormatError)
    expect(error).toMatchObject({ message: expect.stringMatching(message) })
    expect(error).toMatchObject({ message: expect.stringMatching(/^[^\n]*x\.ckpt[^\n]{1,300}\.$/) })
  })

  it("an expanded tensor larger than the file, when it is read", () => {
    const file = read(one(pickled.tensor("0", "float32", 4, [2 ** 30, 4], [0, 1])))
    expect(() => readTorchTensor(file, "w")).toThrow(/would take 17179869184 bytes, more than the file/)
  })
})

describe("hostile pickles", () => {
  const value = (text: string) =>
    readPickle(memorySource("x", Buffer.from(`\x80\x02${text}.`, "latin1"))).value

  it("run nothing: calls stay names", () => {
    expect(value("cos\nsystem\nX\x04\0\0\0exit\x85R")).toEqual({
      kind: "object",
      name: "os.system",
      args: ["exit"],
    })
    expect(value("cposix\nsystem\n(X\x04\0\0\0exittR}X\x01\0\0\0aK\x01sb")).toMatchObject({
      name: "posix.system",
      state: new Map([["a", 1]]),
    })
    expect(value("cbuiltins\neval\nX\x01\0\0\0x\x85R)R")).toMatchObject({ name: "builtins.eval", args: [] })
  })

  it("have keys that mean nothing to JavaScript", () => {
    expect(value("}X\x09\0\0\0__proto__}X\x01\0\0\0aK\x01ss")).toEqual(
      new Map([["__proto__", new Map([["a", 1]])]]),
    )
    expect("a" in {}).toBe(false)
  })

  it("may be circular, as lists, dicts, calls and their arguments", () => {
    const list = value("]q\0h\0a") as PickleValue[]
    expect(list[0]).toBe(list)
    const circle = pickled.global("torch._utils", "_rebuild_parameter").toString("latin1")
    for (const text of [
      "}q\0X\x01\0\0\0ah\0s",
      "}q\0X\x0a\0\0\0state_dicth\0s",
      `}X\x01\0\0\0a${circle}]q\0Rq\x01h\0h\x01a0s`,
    ]) {
      const file = read(torchZip(Buffer.from(`\x80\x02${text}.`, "latin1")))
      expect(file.tensors.size).toBe(0)
    }
  })

  it("may refer to each other as often as they like", () => {
    // Each of 60 dicts holds the one before ten times: 10^60 ways through them.
    const dicts = Array.from({ length: 60 }, (_, level) => {
      const inner = level === 0 ? "N" : `h${String.fromCharCode(level - 1)}`
      const items = Array.from({ length: 10 }, (_, i) => `K${String.fromCharCode(i)}${inner}`)
      return `}(${items.join("")}uq${String.fromCharCode(level)}0`
    })
    const bomb = torchZip(Buffer.from(`\x80\x02${dicts.join("")}h\x3b.`, "latin1"))
    const start = performance.now()
    expect(read(bomb).tensors.size).toBe(0)
    expect(performance.now() - start).toBeLessThan(10_000)
  })

  it("nest as deep as they like", () => {
    const depth = 200_000
    expect(Array.isArray(value(`${"]".repeat(depth)}${"a".repeat(depth - 1)}`))).toBe(true)
    expect(Array.isArray(value(`)${"\x85".repeat(depth)}`))).toBe(true)
  })
})

describe("damaged files", () => {
  const rounds = fuzzRounds(4000)
  const { below, pick } = dice(20261125)
  const names = goldenNames("torch", /^(?!expected).*\.pt$/).map((name) => name.replace(/\.pt$/, ""))
  const wide = torchCheckpoint(new Map([["w", float32([2, 2], [1, 2, 3, 4])]]), { zip64: true })
  const whole = [...names.map(golden), wide]

  /** Where the pickle of a file lies, more or less: most damage should fall there. */
  function pickleOf(bytes: Uint8Array): [start: number, end: number] {
    const text = Buffer.from(bytes).toString("latin1")
    const start = text.indexOf("\x80", text.startsWith("PK") ? 0 : 30)
    return [start, Math.max(text.indexOf("byteorder"), start + 200)]
  }

  function damage(bytes: Uint8Array): Uint8Array {
    const out = bytes.slice()
    const [start, end] = pickleOf(bytes)
    const somewhere = () =>
      below(3) === 0 ? below(out.length) : start + below(Math.min(end, out.length) - start)
    const kind = below(6)
    if (kind === 0) return out.subarray(0, below(out.length))
    if (kind === 1) {
      const from = somewhere()
      out.copyWithin(somewhere(), from, from + below(64))
      return out
    }
    // Bytes that are instructions or lengths do more harm than others.
    const codes = Buffer.from(
      "().0]}aeQRbchjqrstuX\x80\x81\x85\x86\x87\x8a\x93\x94\x95\xff\x00\x7f",
      "latin1",
    )
    for (let i = 1 + below(4); i > 0; i--) {
      const at = somewhere()
      if (kind === 2) out[at] ^= 1 << below(8)
      else out[at] = pick([...codes])
    }
    if (kind === 5)
      return Buffer.concat([out.subarray(0, start + below(100)), out.subarray(start + below(100))])
    return out
  }

  /** Reads everything there is. Returns whether the file was taken. */
  function readAll(bytes: Uint8Array): boolean {
    const inner = memorySource("fuzzed", bytes)
    let largest = 0
    const source: ByteSource = {
      ...inner,
      read(offset, length) {
        if (!(offset >= 0 && length >= 0)) throw new Error(`read of ${length} at ${offset}`)
        largest = Math.max(largest, length)
        return inner.read(offset, length)
      },
    }
    try {
      const file = readTorchHeader(source)
      for (const [name, { length }] of file.tensors) if (length <= bytes.length) readTorchTensor(file, name)
      return true
    } catch (error) {
      if (error instanceof FormatError) return false
      throw error
    } finally {
      if (largest > bytes.length) expect.fail(`${largest} bytes were read of ${bytes.length}`)
    }
  }

  it("give FormatErrors or sound tensors, never a read of more than the file", () => {
    const before = Object.getOwnPropertyNames(Object.prototype)
    let taken = 0
    for (let i = 0; i < rounds; i++) if (readAll(damage(pick(whole)))) taken++
    // Damage to tensors' bytes, names and inert classes cannot be noticed; much of the rest must be.
    expect(taken).toBeGreaterThan(rounds / 20)
    expect(taken).toBeLessThan(rounds * 0.7)
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(before)
  }, 120_000)
})
