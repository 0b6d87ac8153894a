import { expect, test } from "vitest"
import type { OnnxModel } from "../../src/formats/onnx.ts"
import { float32, int64 } from "../../src/ground/tensor.ts"
import { openSession } from "../../src/runtime/session.ts"

/** The largest element of X X, for an X of ones: takes as long as its size wants. */
const product: OnnxModel = {
  irVersion: 10,
  opsets: { "": 21 },
  graphName: "product",
  nodes: [
    { op: "Expand", name: "expand", inputs: ["x", "size"], outputs: ["wide"] },
    { op: "MatMul", name: "product", inputs: ["wide", "wide"], outputs: ["y"] },
    { op: "ReduceMax", name: "max", inputs: ["y"], outputs: ["max"] },
  ],
  initializers: [],
  inputs: [
    { name: "x", dtype: "float32", shape: [1, 1] },
    { name: "size", dtype: "int64", shape: [2] },
  ],
  outputs: [{ name: "max", dtype: "float32", shape: [1, 1] }],
}

test.each([
  ["one lane take turns", 0, ["long", "short"]],
  ["two lanes overlap", 1, ["short", "long"]],
])("runs of %s", async (_, lane, order) => {
  const long = await openSession(product, { device: "cpu", threads: 1 })
  const short = await openSession(product, { device: "cpu", threads: 1, lane })
  const ended: string[] = []
  const run = async (name: string, session: typeof long, size: number) => {
    const { max } = await session.run({ x: float32([1, 1], [1]), size: int64([2], [size, size]) })
    ended.push(name)
    return max.data[0]
  }
  const results = await Promise.all([run("long", long, 1600), run("short", short, 4)])
  expect(results).toEqual([1600, 4])
  expect(ended).toEqual(order)
  await Promise.all([long.close(), short.close()])
})
