import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import { webgpu } from "../../src/graph/onnx-webgpu.ts"
import { add, linear, matmul, mul } from "../../src/graph/ops/index.ts"
import type { Op, Value } from "../../src/graph/value.ts"
import { inputWeights } from "../../src/graph/weights.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { openSession } from "../../src/runtime/session.ts"
import { dice } from "./dice.ts"
import { relativeDifference } from "./golden.ts"
import { cases, feedsOf } from "./graph-cases.ts"

const written = [...Object.keys(webgpu.rules), "attention"] as Op[]

// The CPU has these operators too; test/slow/webgpu.test.ts runs them where they are meant to run.
test.each(written)("%s is the same as written for the CPU", async (op) => {
  const list = cases[op]
  if (typeof list === "string") throw new Error(`${op} has no cases`)
  const random = dice(1)
  const prepared = list.map((one, number) => ({ one, ...feedsOf(one, number, random) }))
  const outputs = Object.fromEntries(
    prepared.map(({ one, inputs }, i) => [`${i} ${one.name}`, one.call(inputs)]),
  )
  const numbers = Object.assign({}, ...prepared.map(({ feeds }) => feeds))
  const run = async (device: "cpu" | "webgpu") => {
    const model = toOnnx(build(outputs), { device, fusedAttention: device === "cpu" })
    const session = await openSession(model, { device: "cpu", threads: 1 })
    const feeds = model.inputs.map(({ name, shape }) => [name, float32(shape as number[], numbers[name])])
    const results = await session.run(Object.fromEntries(feeds))
    await session.close()
    return results
  }
  const [results, expected] = [await run("webgpu"), await run("cpu")]
  for (const name of Object.keys(outputs))
    expect(relativeDifference(results[name], expected[name]), name).toBeLessThan(3e-6)
})

describe("a linear layer", () => {
  const weights = inputWeights(
    new Map([
      ["weight", [5, 4]],
      ["bias", [5]],
    ]),
  )
  const x = input("x", "float32", [2, 3, 4])
  const operators = (outputs: Record<string, Value>) =>
    toOnnx(build(outputs), { device: "webgpu" }).nodes.map(({ op }) => op)

  test("is one product with its bias", () => {
    expect(operators({ y: linear(x, weights) })).toEqual(["Reshape", "Gemm", "Reshape", "Identity"])
  })

  test("is two where the product is read by others too", () => {
    const product = matmul(x, weights.get("weight"), { transB: true })
    const y = mul(add(product, weights.get("bias")), product)
    expect(operators({ y })).toEqual(["Reshape", "Gemm", "Reshape", "Add", "Mul", "Identity"])
  })
})
