import { afterAll, describe, expect, test } from "vitest"
import type { OnnxModel } from "../../src/formats/onnx.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { openSession } from "../../src/runtime/session.ts"

const sum: OnnxModel = {
  irVersion: 10,
  opsets: { "": 21 },
  graphName: "sum",
  nodes: [{ op: "Add", name: "add", inputs: ["a", "b"], outputs: ["c"] }],
  initializers: [],
  inputs: [
    { name: "a", dtype: "float32", shape: ["n", 2] },
    { name: "b", dtype: "float32", shape: ["n", 2] },
  ],
  outputs: [{ name: "c", dtype: "float32", shape: ["n", 2] }],
}

describe("openSession", () => {
  const session = openSession(sum, { device: "cpu" })
  afterAll(async () => (await session).close())

  test("runs a graph", async () => {
    const { c } = await (await session).run({ a: float32([1, 2], [1, 2]), b: float32([1, 2], [3, 4]) })
    expect(c).toEqual(float32([1, 2], [4, 6]))
  })
})
