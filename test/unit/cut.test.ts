import { describe, expect, test } from "vitest"
import { build, order, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import { add } from "../../src/graph/ops/index.ts"
import { cutInTwo } from "../../src/graph/passes/cut.ts"
import type { Value } from "../../src/graph/value.ts"
import { isOp } from "../../src/graph/value.ts"
import { storedWeights } from "../../src/graph/weights.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { openHalves } from "../../src/pipelines/halves.ts"
import { cosineOf } from "./golden.ts"
import { feeds, runBlock, tensors, tinyBlock } from "./tiny-block.ts"

const whole = tinyBlock(storedWeights(tensors, "here"))
const options = { device: "cpu", threads: 1 } as const

function weightsOf(outputs: Readonly<Record<string, Value>>): string[] {
  const weights = order(Object.values(outputs)).filter((value) => isOp(value, "weight"))
  return weights.map((value) => (isOp(value, "weight") ? value.attributes.path : ""))
}

const bytesOf = (names: readonly string[]) =>
  names.reduce(
    (sum, name) => sum + tensors.get(name.replace(/\[.*/, ""))!.shape.reduce((a, b) => a * b, 4),
    0,
  )

describe("a graph that is cut in two", () => {
  const { first, second } = cutInTwo(whole)!

  test("has each weight in one half, about as many in both", () => {
    const [a, b] = [weightsOf(first), weightsOf(second)]
    // Named by what reads it: the block's last group norm shares the weights of its first.
    expect(a.filter((name) => b.includes(name)).every((name) => name.startsWith("attention.norm"))).toBe(true)
    expect(new Set([...a, ...b]).size).toBe(new Set(weightsOf(whole)).size)
    expect(bytesOf(a) / bytesOf(weightsOf(whole))).toBeGreaterThan(0.3)
    expect(bytesOf(a) / bytesOf(weightsOf(whole))).toBeLessThan(0.7)
  })

  test("gives what the whole gives", async () => {
    const session = await openHalves([toOnnx(build(first)), toOnnx(build(second))], options)
    const { y } = await session.run(feeds)
    await session.close()
    const exact = await runBlock(whole)
    expect(y.shape).toEqual(exact.shape)
    expect(1 - cosineOf(y, exact)).toBeLessThan(1e-10)
  })

  test("refuses what the whole would refuse", async () => {
    const session = await openHalves([toOnnx(build(first)), toOnnx(build(second))], options)
    await expect(session.run({ ...feeds, z: float32([1], [0]) })).rejects.toThrow("has no input z")
    await expect(session.run({ x: feeds.x })).rejects.toThrow("context")
    await session.close()
    await expect(session.run(feeds)).rejects.toThrow("closed")
  })

  test("stays whole where it has no weights", () => {
    const x = input("x", "float32", [2])
    expect(cutInTwo({ y: add(x, x) })).toBeUndefined()
  })
})
