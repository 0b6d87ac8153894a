import { afterEach, beforeEach, describe, expect, test, vi } from "vitest"
import { input } from "../../src/graph/node.ts"
import { linear, meanSquaredError } from "../../src/graph/ops/index.ts"
import { LimnError } from "../../src/ground/errors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { float32, type Tensor } from "../../src/ground/tensor.ts"
import type { Session, SessionOptions } from "../../src/runtime/session.ts"
import * as sessions from "../../src/runtime/session.ts"
import {
  DivergenceError,
  type Objective,
  type TrainerOptions,
  type TrainerState,
  type TrainingStep,
  trainerState,
  trainSteps,
} from "../../src/training/trainer.ts"

/** Sessions that are open now, and how each was opened. */
const open = new Map<Session, SessionOptions | undefined>()

const { openSession } = sessions
beforeEach(() => {
  vi.spyOn(sessions, "openSession").mockImplementation(async (graph, options) => {
    const session = await openSession(graph, options)
    const counted: Session = {
      ...session,
      close() {
        open.delete(counted)
        return session.close()
      },
    }
    open.set(counted, options)
    return counted
  })
})

afterEach(() => {
  vi.restoreAllMocks()
  expect(open.size, "sessions left open").toBe(0)
})

const options: TrainerOptions = {
  steps: 5,
  learningRate: 0.05,
  schedule: "constant",
  warmupSteps: 0,
  accumulation: 1,
  clipNorm: 1e6,
  emaDecay: 0.9,
  weightDecay: 0,
  threads: 1,
}

/** To find the line that these numbers lie on: y = x w^T + b. */
function regression(batchSize: number, batches?: readonly Tensor<"float32">[]): Objective {
  let given = 0
  return {
    loss(weights) {
      const x = input("x", "float32", [batchSize, 3])
      const y = input("y", "float32", [batchSize, 2])
      return meanSquaredError(linear(x, weights.at("layer")), y)
    },
    batch(random) {
      const x = batches ? batches[given++] : random.randn([batchSize, 3])
      const y = Array.from({ length: batchSize }, (_, n) => {
        const [a, b, c] = x.data.subarray(3 * n, 3 * n + 3)
        return [a - 2 * b + 0.5, 3 * c - 0.25 * a - 1]
      })
      return { x, y: float32([batchSize, 2], y.flat()) }
    },
  }
}

function begin(): TrainerState {
  const random = cpuGenerator(3)
  const parameters = new Map([
    ["layer.weight", random.randn([2, 3])],
    ["layer.bias", random.randn([2])],
  ])
  return trainerState(parameters, random)
}

async function run(objective: Objective, state: TrainerState, changed: Partial<TrainerOptions> = {}) {
  const steps: TrainingStep[] = []
  for await (const step of trainSteps(objective, state, { ...options, ...changed })) steps.push(step)
  return steps
}

const numbersOf = ({ parameters, average, optimizer, random }: TrainerState) => ({
  ...Object.fromEntries([...parameters].map(([name, { data }]) => [name, [...data]])),
  average: [...average.values()].map(({ data }) => [...data]),
  first: [...optimizer.first.values()].map(({ data }) => [...data]),
  second: [...optimizer.second.values()].map(({ data }) => [...data]),
  step: optimizer.step,
  random: random.state(),
})

describe("training", () => {
  test("finds the line", async () => {
    const state = begin()
    const steps = await run(regression(16), state, {
      steps: 400,
      learningRate: 0.2,
      schedule: "cosine",
      warmupSteps: 10,
    })
    expect(steps.map(({ step }) => step)).toEqual(Array.from({ length: 400 }, (_, i) => i + 1))
    expect(steps[0].learningRate).toBe(0)
    expect(steps[10].learningRate).toBe(0.2)
    expect(steps.at(-1)!.loss).toBeLessThan(1e-6)
    const found = state.parameters.get("layer.weight")!.data
    for (const [i, value] of [1, -2, 0, -0.25, 0, 3].entries()) expect(found[i]).toBeCloseTo(value, 2)
  })

  test("goes on where it stopped as if it had not", async () => {
    const [straight, stopped] = [begin(), begin()]
    await run(regression(4), straight, { steps: 6 })
    for await (const { step } of trainSteps(regression(4), stopped, { ...options, steps: 6 }))
      if (step === 2) break
    expect(open.size).toBe(0)
    await run(regression(4), stopped, { steps: 6 })
    expect(numbersOf(stopped)).toEqual(numbersOf(straight))
  })

  test("does nothing where all steps are done", async () => {
    const state = begin()
    await run(regression(4), state)
    const before = numbersOf(state)
    expect(await run(regression(4), state)).toEqual([])
    expect(numbersOf(state)).toEqual(before)
  })

  test("clips gradients", async () => {
    const moved = [1e6, 0.01].map(async (clipNorm) => {
      const state = begin()
      const before = [...state.parameters.get("layer.bias")!.data]
      const [{ gradientNorm }] = await run(regression(4), state, { steps: 1, clipNorm, eps: 100 })
      const after = state.parameters.get("layer.bias")!.data
      return { gradientNorm, by: before.map((v, i) => after[i] - v) }
    })
    const [free, clipped] = await Promise.all(moved)
    expect(clipped.gradientNorm).toBe(free.gradientNorm)
    for (const [i, by] of free.by.entries())
      expect((clipped.by[i] / by) * free.gradientNorm).toBeCloseTo(0.01, 3)
  })
})

describe("batches whose gradients are averaged", () => {
  const random = cpuGenerator(8)
  const whole = Array.from({ length: 3 }, () => random.randn([16, 3]))
  const halves = whole.flatMap((x) => [
    float32([8, 3], x.data.slice(0, 24)),
    float32([8, 3], x.data.slice(24)),
  ])
  const changed = { steps: 3, learningRate: 10, eps: 100 }

  test.each([1, 2])("are as good as one of all their samples, on %i threads", async (threads) => {
    const [one, two] = [begin(), begin()]
    const wanted = await run(regression(16, whole), one, { ...changed, threads })
    const actual = await run(regression(8, halves), two, { ...changed, accumulation: 2, threads })
    for (const [i, step] of wanted.entries()) {
      expect(actual[i].loss).toBeCloseTo(step.loss, 5)
      expect(actual[i].gradientNorm).toBeCloseTo(step.gradientNorm, 5)
    }
    for (const [name, { data }] of one.parameters)
      for (const [i, value] of data.entries())
        expect(Math.abs(two.parameters.get(name)!.data[i] - value)).toBeLessThan(1e-5)
    // The comparison means something: the steps were not small.
    expect(
      Math.abs(one.parameters.get("layer.bias")!.data[0] - begin().parameters.get("layer.bias")!.data[0]),
    ).toBeGreaterThan(0.01)
  })

  test.each([1, 2, 3, 4])("give the same bits in %i lanes as in one", async (threads) => {
    const [together, apart] = [begin(), begin()]
    const lanes: (number | undefined)[] = []
    await run(regression(4), together, { accumulation: threads, threads: 1 })
    for await (const { step } of trainSteps(regression(4), apart, {
      ...options,
      accumulation: threads,
      threads,
    }))
      if (step === 1) for (const how of open.values()) lanes.push(how?.lane)
    expect(lanes).toEqual(Array.from({ length: threads }, (_, lane) => lane))
    expect(numbersOf(apart)).toEqual(numbersOf(together))
  })

  test("share the threads", async () => {
    const shared: (readonly [number | undefined, number | undefined])[] = []
    for await (const _ of trainSteps(regression(4), begin(), { ...options, accumulation: 2, threads: 5 })) {
      for (const how of open.values()) shared.push([how?.lane, how?.threads])
      break
    }
    expect(shared).toEqual([
      [0, 2],
      [1, 2],
    ])
  })
})

describe("a step that fails", () => {
  const failing = (at: number, failure: () => never | Tensor<"float32">): Objective => {
    const objective = regression(4)
    let batches = 0
    return {
      ...objective,
      async batch(random) {
        const feeds = await objective.batch(random)
        return ++batches === at ? { ...feeds, x: failure() } : feeds
      },
    }
  }
  const broken = () => {
    throw new LimnError("The picture is gone.")
  }

  test.each<[string, () => never | Tensor<"float32">, string]>([
    ["in its batch", broken, "The picture is gone."],
    ["in its run", () => float32([2, 3], new Float32Array(6)), "must have the shape [4, 3], not [2, 3]"],
  ])("%s leaves the state as it was, chance included", async (_, failure, message) => {
    const [straight, failed] = [begin(), begin()]
    await run(regression(4), straight)
    await expect(run(failing(3, failure), failed)).rejects.toThrow(message)
    expect(failed.optimizer.step).toBe(2)
    expect(open.size).toBe(0)
    await run(regression(4), failed)
    expect(numbersOf(failed)).toEqual(numbersOf(straight))
  })

  test("with a second batch leaves it too", async () => {
    const [before, failed] = [begin(), begin()]
    await expect(run(failing(2, broken), failed, { accumulation: 2, threads: 2 })).rejects.toThrow("gone")
    expect(numbersOf(failed)).toEqual(numbersOf(before))
  })

  test.each([Number.NaN, Number.POSITIVE_INFINITY, 1e30])(
    "with %d in its batch has diverged",
    async (value) => {
      const state = begin()
      const diverging = failing(2, () => float32([4, 3], new Float32Array(12).fill(value)))
      await expect(run(diverging, state)).rejects.toThrow(DivergenceError)
      expect(state.optimizer.step).toBe(1)
      for (const { data } of state.parameters.values()) expect(data.every(Number.isFinite)).toBe(true)
    },
  )

  test("is said in a sentence when it diverges", async () => {
    const diverging = failing(1, () => float32([4, 3], new Float32Array(12).fill(Number.NaN)))
    await expect(run(diverging, begin())).rejects.toThrow(
      "At step 1 the loss is NaN and its gradient's norm NaN: lower the learning rate and resume.",
    )
  })

  test("is refused before it begins where a parameter is never used", async () => {
    const state = begin()
    const more = trainerState(
      new Map([...state.parameters, ["layer.unused", float32([1], [0])]]),
      cpuGenerator(0),
    )
    await expect(run(regression(4), more)).rejects.toThrow(
      'The loss does not depend on the parameter "layer.unused".',
    )
  })
})
