import { describe, expect, test } from "vitest"
import { build, order, toOnnx } from "../../src/graph/build.ts"
import { gradient } from "../../src/graph/gradient.ts"
import { gradientRules } from "../../src/graph/gradient-rules.ts"
import { constant, input } from "../../src/graph/node.ts"
import * as ops from "../../src/graph/ops/index.ts"
import type { Op, Value } from "../../src/graph/value.ts"
import { sizeOf } from "../../src/ground/shape.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { openSession } from "../../src/runtime/session.ts"
import { type Dice, dice } from "./dice.ts"
import { cases, feedsOf } from "./graph-cases.ts"
import { interpret } from "./graph-interpreter.ts"

type Feeds = Readonly<Record<string, Float64Array>>

/** Half the step of a central difference in double precision, whose error is then about 1e-9. */
const step = 1e-5

/** Operators that nothing differentiates. */
const undifferentiated: readonly Op[] = [
  "quantizedMatmul",
  "int8Matmul",
  "int8Conv2d",
  "convTranspose2d",
  "groupNormRows",
]

test("only the listed operators have no rule", () => {
  const none = (Object.keys(gradientRules) as Op[]).filter((op) => gradientRules[op] === null)
  expect(none).toEqual(undifferentiated)
})

describe.each(Object.keys(gradientRules) as Op[])("gradient of %s", (op) => {
  const list = cases[op]
  if (typeof list === "string") {
    test("flows no further", () => expect(list).toMatch(/^is /))
    return
  }
  if (undifferentiated.includes(op)) {
    test("is refused by name", () => {
      const { inputs } = feedsOf(list[0], 0, dice(1))
      const loss = ops.reduceSum(list[0].call(inputs))
      expect(() => gradient(loss, inputs)).toThrow(`gradient: ${op} has no gradient rule.`)
    })
    return
  }

  test.each(list.map((one, number) => ({ ...one, number })))("$name", (one) => {
    const random = dice(100 + one.number)
    const { inputs, feeds } = feedsOf(one, one.number, random)
    const result = one.call(inputs)
    expect(order([result]).some((value) => value.op === op)).toBe(true)
    expectGradients(weightedSum(result, random), inputs, feeds)
  })

  test("on ONNX Runtime", async () => {
    const random = dice(2)
    const outputs: Record<string, Value> = {}
    const feeds: Record<string, Float64Array> = {}
    list.forEach((one, number) => {
      const { inputs, feeds: few } = feedsOf(one, number, random)
      Object.assign(feeds, few)
      gradient(weightedSum(one.call(inputs), random), inputs).forEach((value, i) => {
        outputs[`gradient ${number} ${i} of ${one.name}`] = value
      })
    })
    const model = toOnnx(build(outputs))
    const session = await openSession(model, { device: "cpu", threads: 1 })
    const fed = model.inputs.map(
      ({ name, shape }) => [name, float32(shape as number[], feeds[name])] as const,
    )
    const actual = await session.run(Object.fromEntries(fed))
    await session.close()
    const expected = interpret(Object.values(outputs), feeds)
    Object.keys(outputs).forEach((name, i) => {
      expect(difference(actual[name].data as Float32Array, expected[i]), name).toBeLessThan(1e-5)
    })
  })
})

describe("gradient", () => {
  test("adds up what comes back on several ways", () => {
    const x = input("x", "float32", [3])
    const y = ops.mul(x, ops.add(ops.sin(x), x))
    const loss = ops.reduceSum(ops.add(ops.mul(y, x), y))
    expectGradients(loss, [x], { x: Float64Array.of(0.3, -1.2, 2) })
  })

  test("of random compositions", () => {
    const pieces: ((x: Value, y: Value) => Value)[] = [
      ops.add,
      ops.sub,
      ops.mul,
      (x) => ops.tanh(x),
      (x) => ops.silu(x),
      (x) => ops.gelu(x),
      (x) => ops.softmax(x),
      (x, y) => ops.matmul(x, y, { transB: true, scale: 0.3 }),
      (x) => ops.transpose(x, [1, 0]),
      (x) => ops.slice(x, 0, 3, -1, -1),
      (x) => ops.sub(x, ops.reduceMean(x, [1], { keepDims: true })),
      (x, y) => ops.concat([ops.slice(x, 0, 0, 2), ops.slice(y, 0, 1, 3)], 0),
      (x, y) => ops.div(x, ops.shift(ops.mul(y, y), 1)),
    ]
    for (let seed = 0; seed < 20; seed++) {
      const random = dice(seed)
      const inputs = ["x", "y"].map((name) => input(name, "float32", [4, 4]))
      const known: Value[] = [...inputs]
      for (let k = 0; k < 12; k++)
        known.push(random.pick(pieces)(random.pick(known.slice(-5)), random.pick(known)))
      const feeds = Object.fromEntries(
        ["x", "y"].map((name) => [name, Float64Array.from({ length: 16 }, () => random.next() * 2 - 1)]),
      )
      expectGradients(weightedSum(known.at(-1)!, random), inputs, feeds)
    }
  })

  test("in a value that the loss does not depend on is zero", () => {
    const [x, other] = [input("x", "float32", [2]), input("other", "float32", [3, 2])]
    const [none] = gradient(ops.reduceSum(x), [other])
    expect(none.shape).toEqual([3, 2])
    expect([...interpret([none], {})[0]]).toEqual([0, 0, 0, 0, 0, 0])
  })

  test("in the loss itself is one", () => {
    const loss = ops.reduceSum(input("x", "float32", [2]))
    const [g] = gradient(loss, [loss])
    expect([...interpret([g], {})[0]]).toEqual([1])
  })

  test("in values between", () => {
    const x = input("x", "float32", [3])
    const y = ops.sin(x)
    const [g] = gradient(ops.reduceSum(ops.mul(y, y)), [y])
    const feeds = { x: Float64Array.of(0.5, 1, -2) }
    const [actual] = interpret([g], feeds)
    feeds.x.forEach((v, i) => {
      expect(actual[i]).toBeCloseTo(2 * Math.sin(v), 12)
    })
  })

  test("is not described where nobody asked for it", () => {
    const [x, w] = [input("x", "float32", [2, 3, 5, 5]), input("w", "float32", [4, 3, 3, 3])]
    const loss = ops.reduceSum(ops.convolve(x, w, undefined))
    const [g] = gradient(loss, [w])
    expect(order([g]).map((value) => value.op)).not.toContain("conv2d")
  })

  test("needs a loss of one number", () => {
    const x = input("x", "float32", [2, 3])
    expect(() => gradient(x, [x])).toThrow("gradient: the loss must be one number, not float32[2, 3].")
  })
})

/** The described gradients, in double precision, beside what the loss does when one number moves a little. */
function expectGradients(loss: Value, inputs: readonly Value[], feeds: Feeds): void {
  const described = interpret(gradient(loss, inputs), feeds)
  const names = Object.keys(feeds)
  const lossAt = (name: string, i: number, by: number) => {
    const moved = feeds[name].slice()
    moved[i] += by
    return interpret([loss], { ...feeds, [name]: moved })[0][0]
  }
  names.forEach((name, k) => {
    const measured = feeds[name].map((_, i) => (lossAt(name, i, step) - lossAt(name, i, -step)) / (2 * step))
    expect(described[k].length).toBe(measured.length)
    expect(difference(described[k], measured), name).toBeLessThan(1e-6)
  })
}

/** A sum in which every number counts differently, so that no two errors cancel. */
function weightedSum(x: Value, { next }: Dice): Value {
  const weights = Float32Array.from({ length: sizeOf(x.shape) }, () => 2 * next() - 1)
  return ops.reduceSum(ops.mul(x, constant(float32(x.shape, weights))))
}

function difference(actual: ArrayLike<number>, expected: Float64Array): number {
  const largest = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-3)
  let most = 0
  // Not Math.max, which NaN would pass through.
  for (let i = 0; i < expected.length; i++)
    if (!(Math.abs(actual[i] - expected[i]) <= most)) most = Math.abs(actual[i] - expected[i])
  return most / largest
}
