import { likelyAccelerators, openEngine } from "#platform"
import type { OnnxModel } from "../formats/onnx.ts"
import { LimnError } from "../ground/errors.ts"
import { float32, int64 } from "../ground/tensor.ts"
import type { Device } from "./platform/platform.ts"

/**
 * The device to run on. "auto" is the first accelerator that multiplies matrices faster than the CPU does, else the
 * CPU: drivers that only imitate a GPU are common on servers, and slower by far. A machine whose device files show no
 * GPU pays nothing for the question; elsewhere the answer is found once a process, in a fraction of a second. A device
 * asked for by name need only work. Throws a LimnError with the devices that there are where it does not.
 */
export async function chooseDevice(wanted: Device | "auto"): Promise<Device> {
  if (wanted === "auto") return (fastest ??= findFastest())
  if (wanted === "cpu" || (await works(wanted))) return wanted
  const others = [...likelyAccelerators().filter((device) => device !== wanted), "cpu" as const]
  const usable = await Promise.all(others.map(async (device) => (await works(device)) && device))
  const names = usable.filter((device) => device !== false).join(", ")
  const remedy =
    wanted === "cuda"
      ? "install onnxruntime-node with ONNXRUNTIME_NODE_INSTALL=cuda12 set, or choose"
      : "choose"
  throw new LimnError(
    `The device ${wanted} does not work on this machine: ${remedy} one of those that do (${names}).`,
  )
}

let fastest: Promise<Device> | undefined
const working = new Map<Device, Promise<boolean>>()

async function findFastest(): Promise<Device> {
  const accelerators = likelyAccelerators()
  if (accelerators.length === 0) return "cpu"
  const toBeat = await productMs("cpu")
  for (const device of accelerators)
    if ((await works(device)) && (await productMs(device)) < toBeat) return device
  return "cpu"
}

function works(device: Device): Promise<boolean> {
  let answer = working.get(device)
  if (answer === undefined) {
    answer = productMs(device, 8).then(
      () => true,
      () => false,
    )
    working.set(device, answer)
  }
  return answer
}

/** Milliseconds for the product of two matrices of `size` x `size`, after one that is not counted. */
async function productMs(device: Device, size = 1024): Promise<number> {
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
