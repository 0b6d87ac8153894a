import { order } from "../src/graph/build.ts"
import { constant } from "../src/graph/node.ts"
import { matmul } from "../src/graph/ops/index.ts"
import type { Value } from "../src/graph/value.ts"
import { isOp } from "../src/graph/value.ts"
import { cpuGenerator } from "../src/ground/random/cpu-generator.ts"
import { sizeOf } from "../src/ground/shape.ts"
import { network } from "../src/pipelines/network.ts"
import { median, secondsOf } from "./machine.ts"

/** How many multiplications with an addition the products, convolutions and attentions of a graph are. */
export function multiplications(outputs: Readonly<Record<string, Value>>): number {
  return order(Object.values(outputs)).reduce((sum, value) => sum + own(value), 0)
}

function own(value: Value): number {
  const [a, b] = value.inputs
  const results = sizeOf(value.shape)
  if (isOp(value, "matmul")) return results * a.shape.at(value.attributes.transA ? -2 : -1)!
  if (isOp(value, "int8Matmul") || isOp(value, "quantizedMatmul")) return results * a.shape.at(-1)!
  if (isOp(value, "conv2d") || isOp(value, "int8Conv2d")) return results * sizeOf(b.shape.slice(1))
  if (isOp(value, "convTranspose2d")) return sizeOf(a.shape) * sizeOf(b.shape.slice(1))
  // Queries with keys, and what comes of them with values.
  if (isOp(value, "attention")) return 2 * sizeOf(a.shape) * b.shape.at(-2)!
  return 0
}

/** Multiplications in float32 with an addition that this machine does in a second, in products that suit it well. */
export async function multiplicationRate(): Promise<number> {
  const [rows, side, products] = [1024, 2048, 16]
  const random = cpuGenerator(0)
  const weight = constant(random.randn([side, side]))
  const chain = network(
    ({ x }) => {
      let result = x
      for (let k = 0; k < products; k++) result = matmul(result, weight, { scale: 0.01 })
      return { result }
    },
    { device: "cpu", precision: "fp32" },
  )
  const feeds = { x: random.randn([rows, side]) }
  const opened = await chain.open(feeds)
  const seconds = await secondsOf(5, () => opened.run(feeds))
  await chain.close()
  return (products * rows * side * side) / median(seconds)
}
