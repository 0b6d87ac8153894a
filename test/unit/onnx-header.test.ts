import { readFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import type { OnnxModel } from "../../src/formats/onnx.ts"
import { encodeOnnxModel } from "../../src/formats/onnx.ts"
import { readOnnxHeader } from "../../src/formats/onnx-header.ts"
import { FormatError } from "../../src/ground/errors.ts"
import { goldenFolder } from "./golden.ts"

const model: OnnxModel = {
  irVersion: 10,
  opsets: { "": 21 },
  graphName: "sum",
  nodes: [{ op: "Add", name: "add", inputs: ["a", "w"], outputs: ["c"] }],
  initializers: [{ name: "w", dtype: "float32", shape: [1], data: new Uint8Array(4) }],
  inputs: [
    { name: "a", dtype: "float32", shape: ["rows", 2] },
    // As old exporters list weights.
    { name: "w", dtype: "float32", shape: [1] },
  ],
  outputs: [{ name: "c", dtype: "int64", shape: ["rows", 2, "?"] }],
}

describe("what an ONNX file says of itself", () => {
  test("is its inputs, outputs and nodes", () => {
    expect(readOnnxHeader(encodeOnnxModel(model), "a.onnx")).toEqual({
      graphName: "a.onnx",
      nodeNames: ["add"],
      inputs: [{ name: "a", dtype: "float32", shape: ["rows", 2] }],
      outputs: [{ name: "c", dtype: "int64", shape: ["rows", 2, "c.2"] }],
    })
  })

  test("is read as Python's onnx writes it", () => {
    const path = join(goldenFolder, "faces/models/detector.onnx")
    const { inputs, outputs } = readOnnxHeader(readFileSync(path), path)
    expect(inputs).toEqual([{ name: "input.1", dtype: "float32", shape: [1, 3, "input.1.2", "input.1.3"] }])
    expect(outputs.map(({ name }) => name)).toEqual(
      ["score", "bbox", "kps"].flatMap((kind) => [8, 16, 32].map((stride) => `${kind}_${stride}`)),
    )
    expect(outputs[8].shape).toEqual(["kps_32.0", 10])
  })

  test.each<[string, () => Uint8Array, RegExp]>([
    ["other bytes", () => new TextEncoder().encode("no model at all"), /a\.onnx/],
    ["nothing", () => new Uint8Array(), /a\.onnx holds no ONNX graph/],
    [
      "weights elsewhere",
      () => {
        const data = { location: "w.bin", offset: 0, length: 4 }
        return encodeOnnxModel({ ...model, initializers: [{ ...model.initializers[0], data }] })
      },
      /a\.onnx keeps its weight w in another file/,
    ],
  ])("is refused in %s", (_, bytes, message) => {
    expect(() => readOnnxHeader(bytes(), "a.onnx")).toThrow(FormatError)
    expect(() => readOnnxHeader(bytes(), "a.onnx")).toThrow(message)
  })
})
