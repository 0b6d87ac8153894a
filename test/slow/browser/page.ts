import { cpuCount, drawText, exists, openByteSource, readText } from "#platform"
import type { OnnxModel } from "../../../src/formats/onnx.ts"
import { messageOf } from "../../../src/ground/errors.ts"
import { float32, zeros } from "../../../src/ground/tensor.ts"
import type { Device } from "../../../src/runtime/session.ts"
import { openSession } from "../../../src/runtime/session.ts"

/** y = x x + w, with w outside the model: offset 3 of weights.bin, four numbers. */
const model: OnnxModel = {
  irVersion: 10,
  opsets: { "": 21 },
  graphName: "page",
  nodes: [
    { op: "MatMul", name: "square", inputs: ["x", "x"], outputs: ["xx"] },
    { op: "Add", name: "add", inputs: ["xx", "w"], outputs: ["y"] },
  ],
  initializers: [
    { name: "w", dtype: "float32", shape: [2, 2], data: { location: "/weights.bin", offset: 3, length: 16 } },
  ],
  inputs: [{ name: "x", dtype: "float32", shape: [2, 2] }],
  outputs: [{ name: "y", dtype: "float32", shape: [2, 2] }],
}

const large: OnnxModel = {
  irVersion: 10,
  opsets: { "": 21 },
  graphName: "large",
  nodes: Array.from({ length: 8 }, (_, i) => ({
    op: "MatMul",
    name: `product${i}`,
    inputs: [i === 0 ? "x" : `y${i - 1}`, "x"],
    outputs: [i === 7 ? "y" : `y${i}`],
  })),
  initializers: [],
  inputs: [{ name: "x", dtype: "float32", shape: [512, 512] }],
  outputs: [{ name: "y", dtype: "float32", shape: [512, 512] }],
}

async function run(device: Device, files?: Record<string, Uint8Array>): Promise<number[]> {
  const session = await openSession(model, { device, files })
  const { y } = await session.run({ x: float32([2, 2], [1, 2, 3, 4]) })
  await session.close()
  return Array.from(y.data, Number)
}

async function ticksOfLongRun(): Promise<number> {
  const session = await openSession(large, { device: "cpu" })
  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  await session.run({ x: zeros("float32", [512, 512]) })
  clearInterval(timer)
  await session.close()
  return ticks
}

const refusal = (work: Promise<unknown>) => work.then(() => "nothing was thrown", messageOf)

/** Everything that test/slow/browser.test.ts looks at. */
const report = async (webgpu: boolean) => {
  const weights = await openByteSource("/weights.bin")
  return {
    isolated: crossOriginIsolated,
    cpus: cpuCount(),
    fetched: await run("cpu"),
    inMemory: await run("cpu", { "/weights.bin": weights.read(0, weights.size) }),
    webgpu: webgpu ? await run("webgpu") : undefined,
    ticks: await ticksOfLongRun(),
    ink: await drawText("Hiii", 20),
    text: await readText("/hello.txt"),
    there: [await exists("/hello.txt"), await exists("/none.txt")],
    noFile: await refusal(readText("/none.txt")),
    noDevice: await refusal(openSession(model, { device: "cuda" })),
    noNode: await refusal(
      openSession({ ...model, nodes: [{ ...model.nodes[0], op: "Foo" }, model.nodes[1]] }),
    ),
  }
}
export type Report = Awaited<ReturnType<typeof report>>

Object.assign(window, { report })
