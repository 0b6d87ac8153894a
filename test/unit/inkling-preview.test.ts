import { expect, test } from "vitest"
import { fitPreview, leastSquares } from "../../inkling/preview-fit.ts"
import { add, concat, scale, shift, slice, upsampleNearest } from "../../src/graph/ops/index.ts"
import type { Value } from "../../src/graph/value.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { network } from "../../src/pipelines/network.ts"
import { dice } from "./dice.ts"

test("least squares find what fits exactly, and else leave misses that no input explains", () => {
  const random = dice(7)
  const inputs = Array.from({ length: 40 }, () => [random.next() - 0.5, random.next() - 0.5, 1])
  const exact = leastSquares(
    inputs,
    inputs.map(([a, b]) => 2 * a - 3 * b + 0.5),
  )
  for (const [i, value] of [2, -3, 0.5].entries()) expect(exact[i]).toBeCloseTo(value, 9)
  const outputs = inputs.map(() => random.next())
  const x = leastSquares(inputs, outputs)
  for (let i = 0; i < 3; i++) {
    const along = inputs.reduce((sum, row, k) => {
      return sum + row[i] * (outputs[k] - row[0] * x[0] - row[1] * x[1] - row[2] * x[2])
    }, 0)
    expect(along).toBeCloseTo(0, 9)
  }
})

test("a decoder that is linear is found as it is", async () => {
  const wanted = [
    [0.1, -0.05, 0.02],
    [0, 0.12, -0.1],
    [0.2, -0.1, 0],
  ]
  const colour = (latents: Value, c: number) => {
    const channel = (n: number) => scale(slice(latents, 1, n, n + 1), wanted[n][c])
    return shift(add(channel(0), channel(1)), wanted[2][c])
  }
  const decoder = network(
    ({ latents }) => ({
      image: upsampleNearest(
        concat(
          [0, 1, 2].map((c) => colour(latents, c)),
          1,
        ),
        64,
        64,
      ),
    }),
    { device: "cpu", precision: "fp32", threads: 1 },
  )
  const { factors, error } = await fitPreview({ decoder, latentPixels: 4 }, 2, cpuGenerator(1), 4)
  await decoder.close()
  expect(factors).toHaveLength(3)
  // Pictures have 8 bits.
  for (const [i, row] of factors.entries())
    for (const [c, value] of row.entries()) expect(Math.abs(value - wanted[i][c])).toBeLessThan(1e-3)
  expect(error).toBeLessThan(0.05)
})
