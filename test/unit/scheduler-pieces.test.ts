import { describe, expect, test } from "vitest"
import { UsageError } from "../../src/ground/errors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { betaQuantile } from "../../src/schedulers/beta-quantile.ts"
import { alphasCumprod } from "../../src/schedulers/noise-schedule.ts"
import type { Prediction } from "../../src/schedulers/prediction.ts"
import { levelsAt, noised, predictEpsilon, predictX0, velocity } from "../../src/schedulers/prediction.ts"

const sd = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" }

describe("noise levels and predictions", () => {
  // diffusers' tables of Stable Diffusion and Kolors.
  test.each([
    [{ ...sd }, { 0: 0.999149978, 1: 0.998296022, 981: 0.0057754959, 999: 0.00466009509 }],
    [
      { ...sd, beta_end: 0.014, num_train_timesteps: 1100 },
      { 1: 0.998295963, 1079: 0.00156214018, 1099: 0.00118265406 },
    ],
  ])("alphasCumprod of %o", (config, expected) => {
    const products = alphasCumprod(config)
    for (const [t, value] of Object.entries(expected))
      expect(Math.abs(products[Number(t)] / value - 1)).toBeLessThan(1e-7)
  })

  test.each<Prediction>(["epsilon", "sample", "v_prediction", "flow_prediction"])(
    "%s gives x0 and noise",
    (prediction) => {
      const random = cpuGenerator(21)
      const [x0, noise] = [random.randn([3, 7]), random.randn([3, 7])]
      const levels =
        prediction === "flow_prediction"
          ? [0.2, 0.5, 0.9].map((sigma) => ({ alpha: 1 - sigma, sigma }))
          : levelsAt(alphasCumprod(sd), [3, 500, 999])
      const sample = noised(x0, noise, levels)
      const outputs = {
        epsilon: noise,
        sample: x0,
        v_prediction: velocity(x0, noise, levels),
        flow_prediction: float32(
          [3, 7],
          noise.data.map((n, i) => n - x0.data[i]),
        ),
      }
      expectClose(predictX0(prediction, outputs[prediction], sample, levels).data, x0.data)
      expectClose(predictEpsilon(prediction, outputs[prediction], sample, levels).data, noise.data)
    },
  )

  test("timesteps outside the table are refused", () => {
    const products = alphasCumprod(sd)
    for (const t of [-1, 1000, 0.5]) expect(() => levelsAt(products, [t])).toThrow(UsageError)
  })
})

describe("the Beta distribution, whose quantiles space sigmas", () => {
  // scipy.stats.beta.ppf(p, 0.6, 0.6)
  test.each([
    [0, 0],
    [1e-9, 1.85588246249141e-15],
    [0.001, 1.855873851745199e-5],
    [0.1, 0.03958440558878085],
    [0.25, 0.17568037865269498],
    [0.5, 0.5],
    [0.7, 0.7659829961247643],
    [0.95, 0.9874455431263885],
    [0.9999, 0.9999996001622842],
    [1, 1],
  ])("the Beta(0.6, 0.6) quantile of %d", (p, expected) => {
    expect(Math.abs(betaQuantile(p, 0.6) - expected)).toBeLessThanOrEqual(1e-14 * Math.max(expected, 0.01))
  })

  test("the Beta quantile of other shapes", () => {
    expect(betaQuantile(0.3, 2.5)).toBeCloseTo(0.3786479422654176, 13)
    expect(betaQuantile(0.3, 1)).toBeCloseTo(0.3, 13)
  })
})

/** In float32; relative to the larger of the expected number's size and 1. */
function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  const errors = Array.from(expected, (e, i) => Math.abs(actual[i] - e) / Math.max(1, Math.abs(e)))
  expect(actual.length).toBe(expected.length)
  expect(Math.max(...errors)).toBeLessThanOrEqual(3e-5)
}
