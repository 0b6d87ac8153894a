import { float32 } from "../../../src/ground/tensor.ts"
import { openSession } from "../../../src/runtime/session.ts"

/**
 * Opens a session and ends as the first argument says; the second is how many products of matrices one run does. Says
 * "running" once native code runs, "idle" where it does not.
 */
const [, , end, times] = process.argv
const size = 1024

const session = await openSession(
  {
    irVersion: 10,
    opsets: { "": 21 },
    graphName: "long run",
    nodes: Array.from({ length: Number(times) }, (_, i) => ({
      op: "MatMul",
      name: `product${i}`,
      inputs: [i === 0 ? "x" : `y${i - 1}`, "x"],
      outputs: [i === Number(times) - 1 ? "y" : `y${i}`],
    })),
    initializers: [],
    inputs: [{ name: "x", dtype: "float32", shape: [size, size] }],
    outputs: [{ name: "y", dtype: "float32", shape: [size, size] }],
  },
  { device: "cpu" },
)

const x = float32([size, size], new Float32Array(size * size))
if (end === "close") await session.close()
if (end === "close" || end === "leave open") console.log("idle")
else {
  void session.run({ x })
  // Queued behind the first: an exit must not wait for it.
  void session.run({ x }).catch(() => {})
  setTimeout(() => {
    console.log("running")
    if (end === "exit") process.exit(7)
    if (end === "throw") throw new Error("thrown while a graph runs")
  }, 200)
}
