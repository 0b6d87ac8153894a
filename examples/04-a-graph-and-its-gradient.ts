// A graph written by hand, its gradient as more of the same graph, and a hundred steps down it.
//   npx tsx --conditions=source examples/04-a-graph-and-its-gradient.ts

import { build, float32, gradient, input, openSession, ops, print, toOnnx } from "limn"

// Describing computes nothing: shapes are checked here, on the line that is wrong if one is.
const x = input("x", "float32", [4, 2])
const y = input("y", "float32", [4, 1])
const w = input("w", "float32", [2, 1])
const loss = ops.meanSquaredError(ops.sigmoid(ops.matmul(x, w)), y)
const [slope] = gradient(loss, [w])

const graph = build({ loss, slope })
console.log(print(graph), "\n")

// Is the first input the larger one?
const data = {
  x: float32([4, 2], [3, 1, 1, 2, 5, 4, 0, 2]),
  y: float32([4, 1], [1, 0, 1, 0]),
}
const session = await openSession(toOnnx(graph), { device: "cpu" })
let weights = float32([2, 1], [0, 0])
for (let step = 0; step <= 100; step++) {
  const out = await session.run({ ...data, w: weights })
  if (step % 25 === 0) console.log(`step ${step}: loss ${Number(out.loss.data[0]).toFixed(4)}`)
  const down = Array.from(weights.data, (v, i) => v - 2 * Number(out.slope.data[i]))
  weights = float32([2, 1], down)
}
await session.close()
