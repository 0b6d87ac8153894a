import { expect, test } from "vitest"
import { mul } from "../../src/graph/ops/index.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { network } from "../../src/pipelines/network.ts"

test.each([
  ["stays loaded when it is out of use", false, 1],
  ["is loaded for each use in low memory", true, 3],
])("a graph %s", async (_, lowMemory, loads) => {
  let described = 0
  const square = network(
    ({ x }) => {
      described++
      return { y: mul(x, x) }
    },
    { device: "cpu", threads: 1, precision: "fp32", lowMemory },
  )
  const x = float32([2], [3, 4])
  const y = float32([2], [9, 16])
  expect(await square.run({ x })).toEqual({ y })
  // While it is open it is there for everyone.
  const opened = await square.open({ x })
  expect(await Promise.all([square.run({ x }), opened.run({ x })])).toEqual([{ y }, { y }])
  opened.release()
  expect(await square.run({ x })).toEqual({ y })
  expect(described).toBe(loads)
  await square.close()
  await expect(square.run({ x })).rejects.toThrow("closed")
})
