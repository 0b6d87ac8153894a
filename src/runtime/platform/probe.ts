import type { OnnxModel } from "../../formats/onnx.ts"
import { float32, int64 } from "../../ground/tensor.ts"
import type { Device, Platform } from "./platform.ts"

/**
 * Milliseconds for the product of two matrices of `size` x `size` on a device, after one that is not counted. Throws
 * where the device does not work.
 */
export async function productMs(
  openEngine: Platform["openEngine"],
  device: Device,
  size: number,
): Promise<number> {
  const engine = await openEngine(product, { device })
  try {
    const feeds = { x: float32([1, 1], [1]), size: int64([2], [size, size]) }
    await engine.run(feeds, ["max"])
    const start = performance.now()
    await engine.run(feeds, ["max"])
    return performance.now() - start
  } finally {
    await engine.close()
  }
}

/** The largest element of X X, for an X of ones: only one number crosses to the device and back. */
const product: OnnxModel = {
  irVersion: 10,
  opsets: { "": 21 },
  graphName: "a product of matrices",
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
