import { describe, expect, test } from "vitest"
import { float32 } from "../../src/ground/tensor.ts"
import { adamWState, adamWStep, clipScale, globalNorm, type Parameters } from "../../src/training/adamw.ts"
import { emaDecay, emaStep } from "../../src/training/ema.ts"
import { learningRateFactor } from "../../src/training/learning-rate.ts"
import { goldenJson } from "./golden.ts"

type Tensors = Readonly<Record<string, { readonly shape: number[]; readonly values: number[] }>>

interface AdamWGolden {
  readonly settings: {
    readonly learningRate: number
    readonly beta1: number
    readonly beta2: number
    readonly epsilon: number
    readonly weightDecay: number
    readonly warmupSteps: number | null
    readonly totalSteps: number
    readonly maxNorm: number | null
  }
  readonly initial: Tensors
  readonly steps: readonly {
    readonly gradients: Tensors
    readonly norm: number | null
    readonly learningRate: number
    readonly parameters: Tensors
  }[]
}

interface EmaGolden {
  readonly settings: { readonly decay: number }
  readonly initial: Tensors
  readonly steps: readonly {
    readonly parameters: Tensors
    readonly decay: number
    readonly shadow: Tensors
  }[]
}

describe("AdamW", () => {
  // "scheduled" has a warm-up and a cosine, clipping at some steps, and a step without any gradient.
  test.each(["plain", "scheduled"])("goes as torch's: %s", (name) => {
    const { settings, initial, steps } = goldenJson<AdamWGolden>(`adamw/${name}.json`)
    const { warmupSteps, maxNorm, totalSteps } = settings
    const schedule = warmupSteps === null ? "constant" : "cosine"
    const parameters = parametersOf(initial)
    const state = adamWState(parameters)
    for (const [i, step] of steps.entries()) {
      const gradients = parametersOf(step.gradients)
      const factor = learningRateFactor(i, { schedule, warmupSteps: warmupSteps ?? 0, steps: totalSteps })
      const learningRate = settings.learningRate * factor
      expect(learningRate).toBeCloseTo(step.learningRate, 12)
      const norm = globalNorm(gradients)
      if (step.norm !== null) expect(norm).toBeCloseTo(step.norm, 5)
      const options = { ...settings, eps: settings.epsilon, learningRate }
      adamWStep(parameters, gradients, state, options, maxNorm === null ? 1 : clipScale(norm, maxNorm))
      expectClose(parameters, step.parameters, 1e-5)
    }
    expect(state.step).toBe(20)
  })

  test("moves nothing where there is neither gradient nor decay", () => {
    const parameters = new Map([["w", float32([3], [1, -2, 3])]])
    const zero = new Map([["w", float32([3], [0, 0, 0])]])
    adamWStep(parameters, zero, adamWState(parameters), { learningRate: 0.1, weightDecay: 0 })
    expect([...parameters.get("w")!.data]).toEqual([1, -2, 3])
  })

  test("scales gradients as if they had been scaled before", () => {
    const moved = [1, 0.25].map((scale) => {
      const parameters = new Map([["w", float32([3], [1, -2, 3])]])
      const gradients = new Map([
        [
          "w",
          float32(
            [3],
            [4, 0.1, -8].map((g) => g / scale),
          ),
        ],
      ])
      adamWStep(parameters, gradients, adamWState(parameters), { learningRate: 0.1, eps: 1 }, scale)
      return [...parameters.get("w")!.data]
    })
    expect(moved[0]).toEqual(moved[1])
  })

  test("clips to the limit and leaves shorter gradients alone", () => {
    expect(clipScale(4, 1) * 4).toBeCloseTo(1, 5)
    expect(clipScale(0.5, 1)).toBe(1)
    expect(clipScale(0, 1)).toBe(1)
  })
})

describe("averages of parameters", () => {
  test("go as diffusers' EMAModel does without its warm-up option", () => {
    const { settings, initial, steps } = goldenJson<EmaGolden>("adamw/ema.json")
    const average = parametersOf(initial)
    for (const [i, step] of steps.entries()) {
      const decay = emaDecay(i + 1, settings.decay)
      expect(decay).toBeCloseTo(step.decay, 12)
      emaStep(average, parametersOf(step.parameters), decay)
      expectClose(average, step.shadow, 1e-6)
    }
  })

  test("stay below the largest decay", () => {
    expect(emaDecay(1e6, 0.999)).toBe(0.999)
    expect(emaDecay(100, 0.5)).toBe(0.5)
    expect(emaDecay(1, 0.999)).toBe(0)
  })
})

describe("learning rate", () => {
  const at = (step: number, schedule: "constant" | "linear" | "cosine", warmupSteps = 10) =>
    learningRateFactor(step, { schedule, warmupSteps, steps: 110 })

  test("climbs in a straight line from nothing", () => {
    for (const schedule of ["constant", "linear", "cosine"] as const) {
      expect(at(0, schedule)).toBe(0)
      expect(at(5, schedule)).toBe(0.5)
      expect(at(10, schedule)).toBe(1)
    }
  })

  test("then stays, falls in a line, or falls in half a cosine", () => {
    expect([10, 60, 110, 200].map((step) => at(step, "constant"))).toEqual([1, 1, 1, 1])
    expect([10, 60, 85, 110, 200].map((step) => at(step, "linear"))).toEqual([1, 0.5, 0.25, 0, 0])
    expect(at(60, "cosine")).toBeCloseTo(0.5, 12)
    expect(at(35, "cosine")).toBeCloseTo(0.5 + Math.SQRT1_2 / 2, 12)
    expect(at(110, "cosine")).toBeCloseTo(0, 12)
    expect(at(200, "cosine")).toBeCloseTo(0, 12)
  })

  test("begins at once without a warm-up", () => {
    expect(at(0, "cosine", 0)).toBe(1)
  })
})

function parametersOf(tensors: Tensors): Parameters {
  return new Map(Object.entries(tensors).map(([name, { shape, values }]) => [name, float32(shape, values)]))
}

function expectClose(parameters: Parameters, reference: Tensors, tolerance: number): void {
  for (const [name, { values }] of Object.entries(reference))
    for (const [i, value] of values.entries())
      expect(Math.abs(parameters.get(name)!.data[i] - value), `${name}[${i}]`).toBeLessThan(tolerance)
}
