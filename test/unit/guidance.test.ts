import { describe, expect, test } from "vitest"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { guide } from "../../src/pipelines/guidance.ts"
import { rowsOf } from "../../src/pipelines/rows.ts"

const predictions = cpuGenerator(5).randn([4, 2, 3, 5])
const size = 2 * 3 * 5

function deviationOf(values: Float32Array): number {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length
  return Math.sqrt(values.reduce((sum, v) => sum + (v - mean) ** 2, 0) / (values.length - 1))
}

describe("guide", () => {
  test("follows the prompt for scale 1, the negative for scale 0", () => {
    const positive = rowsOf(predictions, 2, 4).data
    guide(predictions, 1).data.forEach((v, i) => {
      expect(v).toBeCloseTo(positive[i], 6)
    })
    expect(guide(predictions, 0).data).toEqual(rowsOf(predictions, 0, 2).data)
  })

  test("goes further the same way for more", () => {
    guide(predictions, 7.5).data.forEach((v, i) => {
      const n = predictions.data[i]
      const p = predictions.data[i + 2 * size]
      expect(v).toBeCloseTo(n + 7.5 * (p - n), 5)
    })
  })

  test("keeps each sample's own deviation where it is rescaled in full", () => {
    const rescaled = guide(predictions, 9, 1)
    for (const b of [0, 1])
      expect(deviationOf(rowsOf(rescaled, b, b + 1).data)).toBeCloseTo(
        deviationOf(rowsOf(predictions, b + 2, b + 3).data),
        5,
      )
  })

  test("rescales in between by mixing both", () => {
    const [none, some, all] = [0, 0.3, 1].map((rescale) => guide(predictions, 9, rescale).data)
    some.forEach((v, i) => {
      expect(v).toBeCloseTo(0.3 * all[i] + 0.7 * none[i], 5)
    })
  })
})
