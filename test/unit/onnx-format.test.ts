import { mkdtempSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { InferenceSession, Tensor as OrtTensor } from "onnxruntime-node"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import type { OnnxAttribute, OnnxInitializer, OnnxModel, OnnxNode } from "../../src/formats/onnx.ts"
import { encodeOnnxModel } from "../../src/formats/onnx.ts"
import type { DType } from "../../src/ground/dtype.ts"
import { arrayOf } from "../../src/ground/dtype.ts"
import { LimnError } from "../../src/ground/errors.ts"
import { int64, tensor } from "../../src/ground/tensor.ts"

const bytesOf = (data: ArrayBufferView) => new Uint8Array(data.buffer, data.byteOffset, data.byteLength)

/** A model with one float input `x`, and what the test changes in it. */
function modelOf(change: Partial<OnnxModel>): OnnxModel {
  return {
    irVersion: 10,
    opsets: { "": 21, "com.microsoft": 1 },
    graphName: "test",
    nodes: [],
    initializers: [],
    inputs: [{ name: "x", dtype: "float32", shape: [2, 3] }],
    outputs: [{ name: "y", dtype: "float32", shape: [2, 3] }],
    ...change,
  }
}

const x = Float32Array.of(-2, -1, 0, 1, 2, 3)

async function run(model: OnnxModel, options: InferenceSession.SessionOptions = {}): Promise<OrtTensor> {
  const session = await InferenceSession.create(encodeOnnxModel(model), options)
  const shape = [2, 3]
  const { y } = await session.run(session.inputNames.length === 0 ? {} : { x: new OrtTensor(x, shape) })
  await session.release()
  return y
}

const node = (
  op: string,
  inputs: string[],
  attributes?: Record<string, OnnxAttribute>,
  domain?: string,
): OnnxNode => ({
  op,
  name: op,
  inputs,
  outputs: ["y"],
  ...(attributes && { attributes }),
  ...(domain && { domain }),
})

/** The Constant operator has an attribute of each kind, and gives back what it read there. */
async function constant(attributes: Record<string, OnnxAttribute>, dtype: DType, shape: number[]) {
  return run(
    modelOf({
      nodes: [node("Constant", [], attributes)],
      inputs: [],
      outputs: [{ name: "y", dtype, shape }],
    }),
  )
}

describe("attributes, as ONNX Runtime reads them", () => {
  it("FLOAT", async () => {
    expect((await constant({ value_float: -0.1 }, "float32", [])).data).toEqual(Float32Array.of(-0.1))
  })

  it.each([0n, 1n, 127n, 128n, 300n, -1n, 2n ** 31n, 2n ** 53n + 1n, 2n ** 63n - 1n, -(2n ** 63n)])(
    "INT %s",
    async (value) => {
      expect((await constant({ value_int: value }, "int64", [])).data).toEqual(BigInt64Array.of(value))
    },
  )

  it("FLOATS", async () => {
    const values = [1.5, -2.25, Number.POSITIVE_INFINITY, 1e-45]
    expect((await constant({ value_floats: values }, "float32", [4])).data).toEqual(Float32Array.from(values))
  })

  it("INTS", async () => {
    const values = [-1n, 0n, 2n ** 40n, -(2n ** 63n)]
    expect((await constant({ value_ints: values }, "int64", [4])).data).toEqual(BigInt64Array.from(values))
  })

  it("TENSOR", async () => {
    const value = int64([2, 2], [1, -2, 3, 2 ** 40])
    const y = await constant({ value }, "int64", [2, 2])
    expect(y.dims).toEqual([2, 2])
    expect(y.data).toEqual(value.data)
  })

  it("TENSOR whose array is a window of a larger buffer", async () => {
    const window = Float32Array.of(9, 1, 2, 9).subarray(1, 3)
    const y = await constant({ value: tensor("float32", [2], window) }, "float32", [2])
    expect(y.data).toEqual(Float32Array.of(1, 2))
  })

  it("STRING: Gelu's approximation changes its result", async () => {
    const run1 = await run(modelOf({ nodes: [node("Gelu", ["x"], { approximate: "tanh" })] }))
    const run2 = await run(modelOf({ nodes: [node("Gelu", ["x"], { approximate: "none" })] }))
    expect(run1.data[5]).toBeCloseTo(2.996363, 5)
    expect(run2.data[5]).toBeCloseTo(2.99595, 5)
  })

  it("STRINGS: a label encoder, in a foreign domain", async () => {
    const encoder = node(
      "LabelEncoder",
      ["k"],
      { keys_strings: ["纸船", "boat"], values_floats: [7, 8], default_float: -1 },
      "ai.onnx.ml",
    )
    const session = await InferenceSession.create(
      encodeOnnxModel(
        modelOf({
          opsets: { "": 21, "ai.onnx.ml": 3 },
          nodes: [
            {
              op: "Constant",
              name: "words",
              inputs: [],
              outputs: ["k"],
              attributes: { value_strings: ["boat", "纸船", "?"] },
            },
            encoder,
          ],
          inputs: [],
          outputs: [{ name: "y", dtype: "float32", shape: [3] }],
        }),
      ),
    )
    expect((await session.run({})).y.data).toEqual(Float32Array.of(8, 7, -1))
  })
})

describe("initializers", () => {
  const dtypes = Object.keys(arrayOf) as DType[]

  it.each(dtypes)("%s goes through a cast unchanged", async (dtype) => {
    const numbers = [1, 0, 1, 1, 0, 1]
    const half = dtype === "float16" ? 0x3c00 : dtype === "bfloat16" ? 0x3f80 : 1
    const data =
      dtype === "int64"
        ? BigInt64Array.from(numbers, BigInt)
        : arrayOf[dtype] === Uint16Array
          ? Uint16Array.from(numbers, (n) => n * half)
          : new (arrayOf[dtype] as Float32ArrayConstructor)(numbers)
    const initializer: OnnxInitializer = { name: "w", dtype, shape: [2, 3], data: bytesOf(data) }
    const y = await run(modelOf({ nodes: [node("Cast", ["w"], { to: 1n })], initializers: [initializer] }))
    expect(y.data).toEqual(Float32Array.from(numbers))
  })

  it("scalars and empty tensors", async () => {
    const nodes: OnnxNode[] = [
      { op: "Mul", name: "mul", inputs: ["x", "two"], outputs: ["m"] },
      { op: "Concat", name: "concat", inputs: ["m", "none"], outputs: ["y"], attributes: { axis: 1n } },
    ]
    const initializers: OnnxInitializer[] = [
      { name: "two", dtype: "float32", shape: [], data: bytesOf(Float32Array.of(2)) },
      { name: "none", dtype: "float32", shape: [2, 0], data: new Uint8Array(0) },
    ]
    expect((await run(modelOf({ nodes, initializers }))).data).toEqual(x.map((v) => 2 * v))
  })

  it("an omitted optional input keeps its place", async () => {
    const initializers: OnnxInitializer[] = [
      { name: "max", dtype: "float32", shape: [], data: bytesOf(Float32Array.of(1)) },
    ]
    const y = await run(modelOf({ nodes: [node("Clip", ["x", "", "max"])], initializers }))
    expect(y.data).toEqual(x.map((v) => Math.min(v, 1)))
  })

  it("symbolic dimensions", async () => {
    const y = await run(
      modelOf({
        nodes: [node("Neg", ["x"])],
        inputs: [{ name: "x", dtype: "float32", shape: ["batch", 3] }],
        outputs: [{ name: "y", dtype: "float32", shape: ["batch", 3] }],
      }),
    )
    expect(y.dims).toEqual([2, 3])
  })
})

describe("external data", () => {
  const FAR = 2 ** 32 + 4099
  let folder = ""

  beforeAll(() => {
    folder = mkdtempSync(join(tmpdir(), "limn-onnx-"))
    const bytes = new Uint8Array(64)
    bytes.set(bytesOf(Float32Array.of(10, 20, 30)), 13)
    writeFileSync(join(folder, "weights.bin"), bytes)
  })
  afterAll(() => rmSync(folder, { recursive: true }))

  const added = (location: string, offset: number, data = { location, offset, length: 12 }) =>
    modelOf({
      nodes: [node("Add", ["x", "w"])],
      initializers: [{ name: "w", dtype: "float32", shape: [3], data }],
    })
  const expected = Float32Array.of(8, 19, 30, 11, 22, 33)
  const inFolder = () => ({ extra: { session: { model_external_initializers_file_folder_path: folder } } })

  it("is read from a folder, at an offset without alignment", async () => {
    expect((await run(added("weights.bin", 13), inFolder())).data).toEqual(expected)
  })

  it("is read beyond 4 GiB of a (sparse) file", async () => {
    const path = join(folder, "large.bin")
    writeFileSync(path, "")
    truncateSync(path, FAR)
    writeFileSync(path, bytesOf(Float32Array.of(10, 20, 30)), { flag: "a" })
    expect((await run(added("large.bin", FAR), inFolder())).data).toEqual(expected)
  })

  it("is read from memory", async () => {
    const data = bytesOf(Float32Array.of(0, 10, 20, 30))
    const y = await run(added("in-memory", 4), { externalData: [{ path: "in-memory", data }] })
    expect(y.data).toEqual(expected)
  })
})

describe("refusals", () => {
  const refuses = (change: Partial<OnnxModel>, message: RegExp) => {
    expect(() => encodeOnnxModel(modelOf(change))).toThrow(LimnError)
    expect(() => encodeOnnxModel(modelOf(change))).toThrow(message)
  }
  const initializer = (data: OnnxInitializer["data"]): Partial<OnnxModel> => ({
    initializers: [{ name: "w", dtype: "float32", shape: [2, 2], data }],
  })

  it("bytes that are not the shape's", () => {
    refuses(initializer(new Uint8Array(15)), /w of float32 \[2, 2\] needs 16 bytes, not 15/)
    refuses(initializer({ location: "f", offset: 0, length: 17 }), /needs 16 bytes, not 17/)
  })

  it("offsets that are not a place in a file", () => {
    refuses(initializer({ location: "f", offset: -1, length: 16 }), /byte -1 of f/)
    refuses(initializer({ location: "f", offset: 2 ** 60, length: 16 }), /of f/)
  })

  it("attributes whose kind is unknown, or beyond 64 bits", () => {
    refuses({ nodes: [node("Squeeze", ["x"], { axes: [] })] }, /axes of node Squeeze .*empty or mixed/)
    const mixed = [1, 2n] as unknown as number[]
    refuses({ nodes: [node("Squeeze", ["x"], { axes: mixed })] }, /empty or mixed/)
    refuses({ nodes: [node("Squeeze", ["x"], { axes: [2n ** 63n] })] }, /64 bits/)
  })

  it("sizes that are not counts", () => {
    for (const size of [-1, 0.5, Number.NaN, 2 ** 60])
      refuses({ inputs: [{ name: "x", dtype: "float32", shape: [size] }] }, /x cannot have an axis of/)
  })

  it("models of 2 GiB, before joining their bytes", () => {
    const quarter = new Uint8Array(2 ** 29)
    const initializers = [1, 2, 3, 4].map((i): OnnxInitializer => {
      return { name: `w${i}`, dtype: "uint8", shape: [2 ** 29], data: quarter }
    })
    refuses({ initializers }, /2 GiB/)
  })
})

it("thousands of nodes and 64 MB of weights are written without quadratic copying", async () => {
  const count = 3000
  const data = new Uint8Array(21_333)
  const nodes = Array.from({ length: count }, (_, i): OnnxNode => {
    const input = i === 0 ? "x" : `v${i - 1}`
    return { op: "Elu", name: `elu${i}`, inputs: [input], outputs: [`v${i}`], attributes: { alpha: 1.0 } }
  })
  const initializers = Array.from({ length: count }, (_, i): OnnxInitializer => {
    return { name: `w${i}`, dtype: "uint8", shape: [data.length], data }
  })
  const start = performance.now()
  const bytes = encodeOnnxModel(modelOf({ nodes, initializers }))
  const took = performance.now() - start
  expect(bytes.length).toBeGreaterThan(count * data.length)
  // It takes a tenth of a second; copying quadratically would take minutes. The limit leaves room for a busy machine.
  expect(took).toBeLessThan(10_000)
})
