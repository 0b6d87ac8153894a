import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs"
import { open } from "node:fs/promises"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import type { ExternalData, OnnxModel, OnnxNode } from "../../src/formats/onnx.ts"
import type { DType } from "../../src/ground/dtype.ts"
import { arrayOf } from "../../src/ground/dtype.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, int64, tensor, zeros } from "../../src/ground/tensor.ts"
import type { Session, SessionOptions } from "../../src/runtime/session.ts"
import { openSession } from "../../src/runtime/session.ts"

const opened: Session[] = []
afterAll(() => Promise.all(opened.map((session) => session.close())))

async function cpu(model: OnnxModel, options: SessionOptions = {}): Promise<Session> {
  const session = await openSession(model, { device: "cpu", ...options })
  opened.push(session)
  return session
}

function graph(graphName: string, nodes: OnnxNode[], rest: Partial<OnnxModel> = {}): OnnxModel {
  return {
    irVersion: 10,
    opsets: { "": 21 },
    graphName,
    nodes,
    initializers: [],
    inputs: [],
    outputs: [],
    ...rest,
  }
}

const sum = graph("sum", [{ op: "Add", name: "add", inputs: ["a", "b"], outputs: ["c"] }], {
  inputs: [
    { name: "a", dtype: "float32", shape: ["rows", 2] },
    { name: "b", dtype: "float32", shape: ["rows", 2] },
  ],
  outputs: [{ name: "c", dtype: "float32", shape: ["rows", 2] }],
})

/** y = x + the sum of the weights, each `length / 4` numbers of float32. */
function plusWeights(...weights: (ExternalData | Uint8Array)[]): OnnxModel {
  const nodes = weights.map((_, i) => ({
    op: "Add",
    name: `add${i}`,
    inputs: [i === 0 ? "x" : `y${i - 1}`, `w${i}`],
    outputs: [i === weights.length - 1 ? "y" : `y${i}`],
  }))
  return graph("plus weights", nodes, {
    initializers: weights.map((data, i) => ({
      name: `w${i}`,
      dtype: "float32",
      shape: [data.length / 4],
      data,
    })),
    inputs: [{ name: "x", dtype: "float32", shape: ["n"] }],
    outputs: [{ name: "y", dtype: "float32", shape: ["n"] }],
  })
}

/** A product of matrices again and again: a tenth of a second and more on any machine. */
function longRun(times: number): OnnxModel {
  const nodes = Array.from({ length: times }, (_, i) => ({
    op: "MatMul",
    name: `product${i}`,
    inputs: [i === 0 ? "x" : `y${i - 1}`, "x"],
    outputs: [i === times - 1 ? "y" : `y${i}`],
  }))
  return graph("long run", nodes, {
    inputs: [{ name: "x", dtype: "float32", shape: [512, 512] }],
    outputs: [{ name: "y", dtype: "float32", shape: [512, 512] }],
  })
}

const bytesOf = (values: number[]) => new Uint8Array(Float32Array.from(values).buffer)

describe("a run", () => {
  test.each<[DType, Tensor["data"]]>([
    ["float64", Float64Array.of(Math.PI, -0, Number.MAX_VALUE, Number.NaN, 5e-324, 1)],
    ["float32", Float32Array.of(1.5, -0, 3.4e38, Number.NaN, 1e-45, Number.NEGATIVE_INFINITY)],
    ["float16", Uint16Array.of(0x3c00, 0x8000, 0x7bff, 0x7c00, 0x0001, 0x7e01)],
    ["int64", BigInt64Array.of(2n ** 63n - 1n, -(2n ** 63n), 0n, 1n, -1n, 7n)],
    ["int32", Int32Array.of(2 ** 31 - 1, -(2 ** 31), 0, 1, -1, 7)],
    ["int8", Int8Array.of(0, 1, 127, -128, -1, 7)],
    ["uint8", Uint8Array.of(0, 1, 127, 128, 254, 255)],
    ["bool", Uint8Array.of(0, 1, 1, 0, 1, 0)],
  ])("gives %s back bit for bit", async (dtype, data) => {
    const identity = graph("identity", [{ op: "Identity", name: "same", inputs: ["x"], outputs: ["y"] }], {
      inputs: [{ name: "x", dtype, shape: [2, "n"] }],
      outputs: [{ name: "y", dtype, shape: [2, "n"] }],
    })
    const session = await cpu(identity)
    const { y } = await session.run({ x: tensor(dtype, [2, 3], data) })
    expect(y.dtype).toBe(dtype)
    expect(y.shape).toEqual([2, 3])
    expect(y.data).toBeInstanceOf(arrayOf[dtype])
    expect(new Uint8Array(y.data.buffer, y.data.byteOffset, y.data.byteLength)).toEqual(
      new Uint8Array(data.buffer),
    )
  })

  test("takes a part of a larger array, a number without axes and a tensor without elements", async () => {
    const part = new Float32Array([9, 9, 1, 2, 3, 4, 9]).subarray(2, 6)
    const session = await cpu(sum)
    const { c } = await session.run({ a: float32([2, 2], part), b: float32([2, 2], part) })
    expect(c).toEqual(float32([2, 2], [2, 4, 6, 8]))
    expect(part.length).toBe(4)
    const none = await session.run({ a: float32([0, 2], []), b: float32([0, 2], []) })
    expect(none.c).toEqual(float32([0, 2], []))

    const negate = graph("negate", [{ op: "Neg", name: "neg", inputs: ["x"], outputs: ["y"] }], {
      inputs: [{ name: "x", dtype: "float32", shape: [] }],
      outputs: [{ name: "y", dtype: "float32", shape: [] }],
    })
    expect(await (await cpu(negate)).run({ x: float32([], [3]) })).toEqual({ y: float32([], [-3]) })
  })

  test("reads feeds when it is called, and feeds in shared memory in place", async () => {
    const session = await cpu(sum)
    const own = float32([1, 2], [1, 2])
    const shared = float32([1, 2], new Float32Array(new SharedArrayBuffer(8)))
    shared.data.set([10, 20])
    const first = session.run({ a: own, b: shared })
    own.data.fill(0)
    expect((await first).c).toEqual(float32([1, 2], [11, 22]))
    shared.data.set([30, 40])
    expect((await session.run({ a: own, b: shared })).c).toEqual(float32([1, 2], [30, 40]))
  })

  test("gives only the outputs asked for", async () => {
    const nodes = [
      { op: "Neg", name: "neg", inputs: ["x"], outputs: ["minus"] },
      { op: "Abs", name: "abs", inputs: ["x"], outputs: ["size"] },
    ]
    const session = await cpu(
      graph("two outputs", nodes, {
        inputs: [{ name: "x", dtype: "int64", shape: ["n"] }],
        outputs: ["minus", "size"].map((name) => ({ name, dtype: "int64", shape: ["n"] })),
      }),
    )
    const x = int64([2], [-3, 4])
    expect(await session.run({ x })).toEqual({ minus: int64([2], [3, -4]), size: int64([2], [3, 4]) })
    expect(await session.run({ x }, ["size"])).toEqual({ size: int64([2], [3, 4]) })
    await expect(session.run({ x }, ["sign"])).rejects.toThrow(
      "two outputs has no output sign: it gives minus (int64 [n]), size (int64 [n]).",
    )
  })

  test("leaves the event loop free", async () => {
    const session = await cpu(longRun(40))
    let ticks = 0
    const timer = setInterval(() => ticks++, 1)
    await session.run({ x: zeros("float32", [512, 512]) })
    clearInterval(timer)
    expect(ticks).toBeGreaterThan(10)
  })

  test("of one session does not disturb another's, in whatever order they are asked", async () => {
    const [first, second] = await Promise.all([cpu(sum), cpu(plusWeights(bytesOf([100])))])
    const results = await Promise.all(
      Array.from({ length: 20 }, async (_, i) => {
        const { c } = await first.run({ a: float32([1, 2], [i, i]), b: float32([1, 2], [1, 2]) })
        const { y } = await second.run({ x: float32([1], [i]) })
        return [...c.data, ...y.data]
      }),
    )
    expect(results).toEqual(Array.from({ length: 20 }, (_, i) => [i + 1, i + 2, i + 100]))
  })
})

describe("a refused run", () => {
  const a = float32([3, 2], [1, 2, 3, 4, 5, 6])

  test.each<[string, Record<string, Tensor>, string]>([
    [
      "an unknown feed",
      { a, b: a, d: a },
      "sum has no input d: it takes a (float32 [rows, 2]), b (float32 [rows, 2]).",
    ],
    [
      "a missing feed",
      { a },
      "sum was run without its input b: it takes a (float32 [rows, 2]), b (float32 [rows, 2]).",
    ],
    ["another element type", { a, b: zeros("int32", [3, 2]) }, "Input b of sum must be float32, not int32."],
    [
      "another shape",
      { a, b: float32([2, 3], a.data) },
      "Input b of sum must have the shape [rows, 2], not [2, 3].",
    ],
    [
      "another number of axes",
      { a, b: float32([6], a.data) },
      "Input b of sum must have the shape [rows, 2], not [6].",
    ],
    [
      "two sizes for one axis",
      { a, b: zeros("float32", [4, 2]) },
      "Input b of sum has rows = 4, but a has rows = 3: give both the same.",
    ],
    [
      "a shape that is not the data's",
      { a, b: { ...a, data: new Float32Array(5) } },
      "Input b of sum says [3, 2] but holds 5 elements.",
    ],
  ])("tells of %s", async (_, feeds, message) => {
    const session = await cpu(sum)
    await expect(session.run(feeds)).rejects.toThrow(message)
  })

  test("names the node that failed, and the session lives on", async () => {
    const reshape = graph(
      "reshape",
      [{ op: "Reshape", name: "down.flat", inputs: ["x", "shape"], outputs: ["y"] }],
      {
        inputs: [
          { name: "x", dtype: "float32", shape: ["n"] },
          { name: "shape", dtype: "int64", shape: ["rank"] },
        ],
        outputs: [{ name: "y", dtype: "float32", shape: ["p", "q"] }],
      },
    )
    const session = await cpu(reshape)
    const x = float32([8], [0, 1, 2, 3, 4, 5, 6, 7])
    await expect(session.run({ x, shape: int64([2], [3, 3]) })).rejects.toThrow(
      "Node down.flat (Reshape) of reshape failed: The input tensor cannot be reshaped to the requested shape. Input shape:{8}, requested shape:{3,3}.",
    )
    expect((await session.run({ x, shape: int64([2], [2, 4]) })).y.shape).toEqual([2, 4])
  })

  test("comes after close, which may be called twice", async () => {
    const session = await openSession(sum, { device: "cpu" })
    const running = session.run({ a, b: a })
    await session.close()
    await session.close()
    expect((await running).c.data[5]).toBe(12)
    await expect(session.run({ a, b: a })).rejects.toThrow(
      "The session of sum is closed: open another to run it.",
    )
  })
})

describe("a refused graph", () => {
  test("is told by its node", async () => {
    const unknown = graph("odd", [{ op: "Foo", name: "mid.foo", inputs: ["a"], outputs: ["c"] }], {
      inputs: sum.inputs,
      outputs: sum.outputs,
    })
    await expect(cpu(unknown)).rejects.toThrow(
      "Node mid.foo (Foo) of odd is refused: No Op registered for Foo with domain_version of 21.",
    )
  })

  test("has bfloat16 at its edge", async () => {
    const edge = { name: "x", dtype: "bfloat16", shape: [1] } as const
    await expect(cpu(graph("half", [], { inputs: [edge], outputs: [edge] }))).rejects.toThrow(
      "x of half is bfloat16, which ONNX Runtime does not take from JavaScript: cast it inside the graph.",
    )
  })
})

describe("external data", () => {
  const root = mkdtempSync(join(tmpdir(), "limn-weights-"))
  afterAll(() => rmSync(root, { recursive: true }))
  const folder = (...names: string[]) => {
    const path = join(root, ...names)
    mkdirSync(path, { recursive: true })
    return path
  }
  const x = float32([2], [0, 1])

  /** A file of `before` other bytes, then these numbers. */
  function weights(path: string, before: number, values: number[]): ExternalData {
    const bytes = bytesOf(values)
    writeFileSync(path, Buffer.concat([Buffer.alloc(before, 0xee), bytes]))
    return { location: path, offset: before, length: bytes.length }
  }

  test("lies in files of several folders, at any offset", async () => {
    const model = plusWeights(
      weights(join(folder("unet"), "a.safetensors"), 13, [10, 20]),
      weights(join(folder("text", "deep"), "b.safetensors"), 0, [300, 300]),
      weights(join(root, "c.safetensors"), 4097, [5000, 5000]),
      bytesOf([0.5, 0.5]),
    )
    expect((await (await cpu(model)).run({ x })).y).toEqual(float32([2], [5310.5, 5321.5]))
    expect((await (await cpu(model, { lowMemory: true, threads: 1 })).run({ x })).y.data[1]).toBe(5321.5)
  })

  test("lies behind links, as in Hub caches", async () => {
    const blob = weights(join(folder("cache", "blobs"), "3f786850e387550f"), 9, [1, 2])
    const link = join(folder("cache", "snapshots", "main", "unet"), "model.safetensors")
    symlinkSync(join("..", "..", "..", "blobs", "3f786850e387550f"), link)
    expect((await (await cpu(plusWeights({ ...blob, location: link }))).run({ x })).y.data[1]).toBe(3)
  })

  test("lies beyond 4 GiB", async () => {
    const path = join(folder("large"), "sparse.safetensors")
    const offset = 2 ** 32 + 2 ** 20 + 1
    writeFileSync(path, "")
    truncateSync(path, offset + 8)
    const file = await open(path, "r+")
    await file.write(bytesOf([7, 8]), 0, 8, offset)
    await file.close()
    expect((await (await cpu(plusWeights({ location: path, offset, length: 8 }))).run({ x })).y.data[1]).toBe(
      9,
    )
  })

  test("lies in memory, beside files", async () => {
    const onDisk = weights(join(folder("disk"), "d.safetensors"), 3, [1, 1])
    const inMemory = { location: "/models/unet/x.safetensors", offset: 3, length: 8 }
    const data = Uint8Array.of(1, 2, 3, ...bytesOf([40, 40]), 9)
    const session = await cpu(plusWeights(onDisk, inMemory), { files: { [inMemory.location]: data } })
    expect((await session.run({ x })).y).toEqual(float32([2], [41, 42]))
    expect(data.length).toBe(12)
  })

  test("that is not there is told", async () => {
    const missing = { location: join(root, "none.safetensors"), offset: 0, length: 8 }
    await expect(cpu(plusWeights(missing))).rejects.toThrow(
      `The weights of plus weights should be in ${missing.location}, and there is no such file.`,
    )
    const short = weights(join(root, "short.safetensors"), 0, [1])
    await expect(cpu(plusWeights({ ...short, offset: 2, length: 8 }))).rejects.toThrow(
      `${short.location} has 4 bytes, and the weights of plus weights reach to byte 10: it is cut short, so fetch it again.`,
    )
    await expect(cpu(plusWeights({ location: "unet.bin", offset: 0, length: 8 }))).rejects.toThrow(
      'The weights of plus weights are in "unet.bin", which is neither an absolute path nor one of the files given.',
    )
  })
})

test("the memory of a run is given back at its end where that is asked for", async () => {
  // Two arrays of 192 MiB between the input and the output.
  const [numbers, enough] = [3 * 2 ** 24, 150 * 2 ** 20]
  const shape = { name: "shape", dtype: "int64", shape: [1], data: bytesOf64(numbers) } as const
  const large = graph(
    "large",
    [
      { op: "Expand", name: "many", inputs: ["x", "shape"], outputs: ["many"] },
      { op: "Sin", name: "sine", inputs: ["many"], outputs: ["sine"] },
      { op: "ReduceMax", name: "most", inputs: ["sine"], outputs: ["y"], attributes: { keepdims: 0n } },
    ],
    {
      initializers: [shape],
      inputs: [{ name: "x", dtype: "float32", shape: [1] }],
      outputs: [{ name: "y", dtype: "float32", shape: [] }],
    },
  )
  const heldAfterRun = async (freeAfterRun: boolean) => {
    const before = process.memoryUsage.rss()
    const session = await cpu(large, { freeAfterRun, threads: 1 })
    const { y } = await session.run({ x: float32([1], [1]) })
    expect(y.data[0]).toBeCloseTo(Math.sin(1), 6)
    const held = process.memoryUsage.rss() - before
    await session.close()
    return held
  }
  expect(await heldAfterRun(true)).toBeLessThan(enough)
  expect(await heldAfterRun(false)).toBeGreaterThan(enough)
})

function bytesOf64(value: number): Uint8Array {
  return new Uint8Array(BigInt64Array.of(BigInt(value)).buffer)
}

test("a profile is written when the session closes", async () => {
  const folder = mkdtempSync(join(tmpdir(), "limn-profile-"))
  const session = await openSession(sum, { device: "cpu", profile: join(folder, "times") })
  await session.run({ a: float32([1, 2], [1, 2]), b: float32([1, 2], [1, 2]) })
  await session.close()
  const { readdirSync, readFileSync } = await import("node:fs")
  const [name] = readdirSync(folder)
  expect(name).toMatch(/^times.*\.json$/)
  expect(readFileSync(join(folder, name), "utf8")).toContain('"add_kernel_time"')
  rmSync(folder, { recursive: true })
})
