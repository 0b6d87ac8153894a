import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { constant, input } from "../../src/graph/node.ts"
import { onnxRules } from "../../src/graph/onnx-rules.ts"
import { cast } from "../../src/graph/ops/index.ts"
import type { Op, Value } from "../../src/graph/value.ts"
import type { DType } from "../../src/ground/dtype.ts"
import { float32, toFloat32 } from "../../src/ground/tensor.ts"
import { openSession } from "../../src/runtime/session.ts"
import { dice } from "./dice.ts"
import { cases, feedsOf } from "./graph-cases.ts"
import { interpret } from "./graph-interpreter.ts"

/** Largest difference from double precision, over the largest number. */
const tolerance = 3e-6

describe.each(Object.keys(onnxRules) as Op[])("%s", (op) => {
  const list = cases[op]
  if (typeof list === "string") {
    test.skip(`has no uses, since it ${list}`, () => {})
    return
  }

  test("does on ONNX Runtime what it means", async () => {
    const random = dice(1)
    const prepared = list.map((one, number) => ({ one, ...feedsOf(one, number, random) }))
    const outputs: Record<string, Value> = {}
    for (const { one, inputs } of prepared) outputs[`${op}: ${one.name}`] = one.call(inputs)
    const feeds = Object.assign({}, ...prepared.map((each) => each.feeds))
    const actual = await run(outputs, feeds)
    const expected = interpret(Object.values(outputs), feeds)
    Object.keys(outputs).forEach((name, i) => {
      expect(actual[name].shape, name).toEqual(outputs[name].shape)
      expect(difference(toFloat32(actual[name]).data, expected[i]), name).toBeLessThan(tolerance)
    })
  })
})

describe("cast", () => {
  test.each<[DType, number[]]>([
    ["int64", [-2, -1, 0, 0, 1, 2]],
    ["int32", [-2, -1, 0, 0, 1, 2]],
    ["bool", [1, 1, 1, 0, 1, 1]],
    ["float16", [-2.5, -1, -0.3000488, 0, 1, 2.75]],
  ])("to %s and back", async (dtype, expected) => {
    const x = input("x", "float32", [6])
    const feeds = { x: Float64Array.of(-2.5, -1, -0.3, 0, 1, 2.75) }
    const { y } = await run({ y: cast(cast(x, dtype), "float32") }, feeds)
    for (const [i, value] of expected.entries()) expect(y.data[i]).toBeCloseTo(value, 6)
  })
})

test("an output may be an input, or a constant", async () => {
  const x = input("x", "float32", [2])
  const outputs = { same: x, known: constant(float32([3], [1, 2, 3])) }
  const result = await run(outputs, { x: Float64Array.of(4, 5) })
  expect([...(result.same.data as Float32Array)]).toEqual([4, 5])
  expect([...(result.known.data as Float32Array)]).toEqual([1, 2, 3])
})

async function run(outputs: Readonly<Record<string, Value>>, feeds: Readonly<Record<string, Float64Array>>) {
  const model = toOnnx(build(outputs))
  const session = await openSession(model, { device: "cpu", threads: 1 })
  const fed = model.inputs.map(({ name, shape }) => [name, float32(shape as number[], feeds[name])] as const)
  const result = await session.run(Object.fromEntries(fed))
  await session.close()
  return result
}

function difference(actual: Float32Array, expected: Float64Array): number {
  const largest = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-3)
  let most = 0
  // Not Math.max, which NaN would pass through.
  for (let i = 0; i < expected.length; i++)
    if (!(Math.abs(actual[i] - expected[i]) <= most)) most = Math.abs(actual[i] - expected[i])
  return most / largest
}
