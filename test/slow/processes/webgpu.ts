import { float32, zeros } from "../../../src/ground/tensor.ts"
import { openSession } from "../../../src/runtime/session.ts"

/** Runs a small graph on the device named by the first argument and prints what came of it as JSON. */
const [, , device] = process.argv

const session = await openSession(
  {
    irVersion: 10,
    opsets: { "": 21 },
    graphName: "small",
    nodes: [
      { op: "MatMul", name: "square", inputs: ["x", "x"], outputs: ["xx"] },
      // No kernel of WebGPU: it runs on the CPU inside the same graph.
      { op: "Det", name: "det", inputs: ["xx"], outputs: ["d"] },
      { op: "Softmax", name: "softmax", inputs: ["xx"], outputs: ["s"] },
    ],
    initializers: [],
    inputs: [{ name: "x", dtype: "float32", shape: ["n", "n"] }],
    outputs: [
      { name: "xx", dtype: "float32", shape: ["n", "n"] },
      { name: "d", dtype: "float32", shape: [] },
      { name: "s", dtype: "float32", shape: ["n", "n"] },
    ],
  },
  { device: device as "webgpu" | "auto" },
)
const [small] = await Promise.all([
  session.run({ x: float32([2, 2], [1, 2, 3, 4]) }),
  session.run({ x: zeros("float32", [64, 64]) }),
])
const values = Object.entries(small).map(([name, { data }]) => [name, Array.from(data, Number)])
console.log(JSON.stringify({ device: session.device, ...Object.fromEntries(values) }))
