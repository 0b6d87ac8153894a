import { readFileSync } from "node:fs"
import { describe, expect, test } from "vitest"
import { UsageError } from "../../src/ground/errors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { sizeOf } from "../../src/ground/shape.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { alphasCumprod } from "../../src/schedulers/noise-schedule.ts"
import type { CustomWalk, Scheduler, StepOptions } from "../../src/schedulers/scheduler.ts"
import { schedulerFromConfig } from "../../src/schedulers/scheduler.ts"

/** The farthest that a number may lie from diffusers', relative to the larger of its size and 1. */
const usual = 1e-5
/** Euler from sigma 4096 subtracts numbers of that size in float32 to reach 18: diffusers itself is no closer. */
const fromZeroSnr = 1e-4

type Config = Record<string, unknown>

/** From reference/schedulers.py: the first numbers of both rows after every step, and the whole last sample. */
interface Walk {
  readonly scheduler: string
  readonly config: Config
  readonly steps?: number
  readonly begin?: number
  /** Keyword arguments of set_timesteps. */
  readonly custom?: { original_inference_steps?: number } & CustomWalk
  readonly options?: Record<string, number>
  readonly initNoiseSigma: number
  readonly timesteps: number[]
  readonly sigmas?: number[]
  /** Of a walk that begins in the middle: a clean sample with noise added. */
  readonly start?: number[]
  readonly samples: number[][]
  readonly final: number[]
}

/** A walk of diffusers 0.40 over a linear model: the first eight numbers after every step, and the whole last sample. */
interface LinearWalk {
  readonly cls: string
  readonly config: Config
  readonly n: number
  readonly step: { readonly s_churn?: number }
  readonly init_noise_sigma: number
  readonly timesteps: number[]
  readonly sigmas: number[] | null
  readonly x0: number[]
  readonly steps: number[][]
  readonly final: number[]
}

const walks: { shape: number[]; walks: Walk[] } = golden("scheduler-walks.json")
const linearWalks: Record<string, LinearWalk> = golden("schedulers.json")

const sd = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" }

describe("diffusers' walks of a model that depends on the timestep", () => {
  const titled = walks.walks.map((walk) => ({
    walk,
    title: `${walk.scheduler} ${walk.steps ?? "custom"} ${JSON.stringify({ ...walk.config, ...walk.options, ...walk.custom, begin: walk.begin })}`,
  }))
  test.each(titled)("$title", ({ walk }) => {
    const { shape } = walks
    const tolerance =
      walk.config.rescale_betas_zero_snr && walk.scheduler.startsWith("Euler") ? fromZeroSnr : usual
    const scheduler = schedulerFromConfig(walk.config, walk.scheduler)
    const { original_inference_steps: originalInferenceSteps, ...custom } = walk.custom ?? {}
    const asked = { steps: walk.steps, originalInferenceSteps, ...custom }
    scheduler.setTimesteps(asked)
    expectClose([scheduler.initNoiseSigma], [walk.initNoiseSigma])
    expectClose(scheduler.timesteps, walk.timesteps)
    if (walk.sigmas) expectSigmas(scheduler, walk.sigmas)

    scheduler.setTimesteps(asked)
    const random = cpuGenerator(1234)
    const noise = random.randn(shape)
    const begin = walk.begin ?? 0
    let sample = map(noise, (x) => x * scheduler.initNoiseSigma)
    if (walk.begin !== undefined) {
      scheduler.setBeginIndex(begin)
      const count = sizeOf(shape)
      const clean = float32(
        shape,
        Array.from({ length: count }, (_, i) => -1 + (2 * i) / (count - 1)),
      )
      sample = scheduler.addNoise(clean, noise, new Array(shape[0]).fill(scheduler.timesteps[begin]))
    }
    if (walk.start) expectClose(sample.data, walk.start)

    const options: StepOptions = {
      eta: walk.options?.eta,
      sChurn: walk.options?.s_churn,
      sTmin: walk.options?.s_tmin,
      sTmax: walk.options?.s_tmax,
      sNoise: walk.options?.s_noise,
    }
    walk.samples.forEach((expected, i) => {
      const t = scheduler.timesteps[begin + i]
      const seen = scheduler.scaleModelInput(sample, t)
      const output = map(seen, (x) => Math.sin(x / 2 + t / 400) / 2 + 0.1)
      sample = scheduler.step(output, t, sample, random, options).prevSample
      expectClose([sample.data[0], sample.data[sample.data.length / 2]], expected, tolerance)
    })
    expectClose(sample.data, walk.final, tolerance)
    expect(begin + walk.samples.length).toBe(scheduler.timesteps.length)
  })
})

describe("diffusers' walks of a linear model", () => {
  test.each(Object.entries(linearWalks))("%s", (_, walk) => {
    const scheduler = schedulerFromConfig({ _class_name: walk.cls, ...walk.config })
    scheduler.setTimesteps(walk.n)
    expectClose([scheduler.initNoiseSigma], [walk.init_noise_sigma])
    expectClose(scheduler.timesteps, walk.timesteps)
    if (walk.sigmas) expectSigmas(scheduler, walk.sigmas)

    scheduler.setTimesteps(walk.n)
    const random = cpuGenerator(1234)
    let sample = map(random.randn([1, 4, 4, 4]), (x) => x * scheduler.initNoiseSigma)
    expectClose(sample.data.slice(0, 8), walk.x0)
    walk.steps.forEach((expected, i) => {
      const t = scheduler.timesteps[i]
      const output = map(scheduler.scaleModelInput(sample, t), (x) => 0.25 * x + 0.05)
      sample = scheduler.step(output, t, sample, random, { sChurn: walk.step.s_churn }).prevSample
      expectClose(sample.data.slice(0, 8), expected)
    })
    expectClose(sample.data, walk.final)
  })
})

describe("every scheduler", () => {
  const base = { ...sd, clip_sample: false, skip_prk_steps: true }
  const byTimestep = ["ddim", "ddpm", "pndm", "lcm", "tcd"]
  const byLogSnr = ["dpmsolver-multistep", "DPM++ 3M SDE Karras", "unipc", "UniPC Exponential"]
  const bySigma = ["euler", "euler-ancestral", "heun", "LMS Karras"]
  const names = [...byTimestep, ...byLogSnr, ...bySigma]
  const others = ["edm-euler", "edm-dpmsolver-multistep", "flow-match-euler"]

  test.each(
    names.flatMap((name) =>
      (["epsilon", "sample", "v_prediction"] as const).map((prediction) => ({ name, prediction })),
    ),
  )("$name arrives at x0 when the model knows it, as $prediction", ({ name, prediction }) => {
    const scheduler = schedulerFromConfig({ ...base, prediction_type: prediction }, name)
    const random = cpuGenerator(5)
    const x0 = random.rand([2, 3, 5])
    const products = alphasCumprod(sd)
    scheduler.setTimesteps(23)
    let sample = scheduler.addNoise(x0, random.randn(x0.shape), [
      scheduler.timesteps[0],
      scheduler.timesteps[0],
    ])
    for (let i = 0; i < scheduler.timesteps.length; i++) {
      const t = scheduler.timesteps[i]
      // The model sees sqrt(a) x0 + sqrt(1 - a) epsilon at the noise level of the walk, which respaced sigmas put
      // between timesteps: the exact level is what turns a unit of noise into the sample's.
      const sigma = sigmaOf(scheduler, i)
      const alpha = 1 / Math.sqrt(sigma * sigma + 1)
      const seen = scheduler.scaleModelInput(sample, t)
      const epsilon = seen.data.map((x, k) => (x - alpha * x0.data[k]) / (sigma * alpha))
      const outputs = {
        epsilon: () => epsilon,
        sample: () => x0.data,
        v_prediction: () => epsilon.map((e, k) => alpha * e - sigma * alpha * x0.data[k]),
      }
      const result = scheduler.step(float32(x0.shape, outputs[prediction]()), t, sample, random)
      expectClose(result.predOriginalSample.data, x0.data, 1e-4)
      sample = result.prevSample
    }
    // PNDM and TCD stop at the noise level of timestep 0.
    const left = Math.sqrt(1 - products[0]) * 4
    expectClose(sample.data, x0.data, name === "pndm" || name === "tcd" ? left : 1e-4)

    function sigmaOf(of: Scheduler, index: number): number {
      if (byTimestep.includes(name)) {
        const a = products[of.timesteps[index]]
        return Math.sqrt((1 - a) / a)
      }
      const probe = schedulerFromConfig(of.config)
      probe.setTimesteps(23)
      probe.setBeginIndex(index)
      const noise = probe.addNoise(float32([1], [0]), float32([1], [1]), [0]).data[0]
      return of.initNoiseSigma === 1 ? noise / Math.sqrt(1 - noise * noise) : noise
    }
  })

  test.each([...names, ...others])("%s is made again by its own configuration, through JSON", (name) => {
    const first = schedulerFromConfig({ ...base, num_train_timesteps: 1100, unknown_key: [1] }, name)
    const again = schedulerFromConfig(JSON.parse(JSON.stringify(first.config)))
    expect(JSON.stringify(again.config)).toBe(JSON.stringify(first.config))
    expect(first.config).not.toHaveProperty("unknown_key")
    expect(first.config.num_train_timesteps).toBe(1100)
    for (const scheduler of [first, again]) scheduler.setTimesteps(12)
    expect(Array.from(again.timesteps)).toEqual(Array.from(first.timesteps))
  })

  test.each([...names, ...others])("%s refuses impossible calls", (name) => {
    const scheduler = schedulerFromConfig(base, name)
    const random = cpuGenerator(0)
    const x = random.randn([1, 4])
    expect(() => scheduler.step(x, 999, x, random)).toThrow("call setTimesteps first")
    for (const steps of [0, -3, 1001, 2.5, Number.NaN])
      expect(() => scheduler.setTimesteps(steps)).toThrow(UsageError)
    scheduler.setTimesteps(4)
    expect(() => scheduler.step(random.randn([2, 4]), scheduler.timesteps[0], x, random)).toThrow(/Shapes/)
    expect(() => scheduler.addNoise(random.randn([2, 4]), random.randn([2, 4]), [1, 1, 1])).toThrow(
      UsageError,
    )
  })

  test.each([...names, ...others])("%s adds each row's noise at that row's timestep", (name) => {
    const scheduler = schedulerFromConfig(base, name)
    scheduler.setTimesteps(10)
    const random = cpuGenerator(3)
    const [x0, noise] = [random.randn([2, 6]), random.randn([2, 6])]
    const at = [scheduler.timesteps[7], scheduler.timesteps[2]]
    const both = scheduler.addNoise(x0, noise, at).data
    at.forEach((t, row) => {
      const part = (of: Tensor<"float32">) => float32([1, 6], of.data.slice(row * 6, row * 6 + 6))
      expectClose(both.slice(row * 6, row * 6 + 6), scheduler.addNoise(part(x0), part(noise), [t]).data, 0)
    })
  })

  test("forgets a walk when the next is planned", () => {
    for (const name of [...names, ...others]) {
      const scheduler = schedulerFromConfig(base, name)
      const finals = [7, 7].map((steps) => {
        scheduler.setTimesteps(steps)
        const random = cpuGenerator(9)
        let x = random.randn([1, 8])
        for (const t of Array.from(scheduler.timesteps))
          x = scheduler.step(map(x, Math.sin), t, x, random).prevSample
        return Array.from(x.data)
      })
      expect(finals[1]).toEqual(finals[0])
    }
  })
})

describe("schedulers that count their steps", () => {
  test.each([
    "euler",
    "euler-ancestral",
    "heun",
    "lms",
    "dpmsolver-multistep",
    "unipc",
    "lcm",
    "tcd",
    "edm-euler",
    "flow-match-euler",
  ])("%s does not run off the end", (name) => {
    const scheduler = schedulerFromConfig(sd, name)
    const random = cpuGenerator(0)
    const x = random.randn([1, 4])
    scheduler.setTimesteps(1)
    scheduler.step(x, scheduler.timesteps[0], x, random)
    expect(() => scheduler.step(x, scheduler.timesteps[0], x, random)).toThrow("All 1 steps are taken")
  })

  test("Euler refuses a timestep that is not on its walk", () => {
    const scheduler = schedulerFromConfig(sd, "euler")
    scheduler.setTimesteps(5)
    const x = float32([1], [1])
    expect(() => scheduler.scaleModelInput(x, 123.4)).toThrow("Timestep 123.4 is not one of this walk's")
  })
})

function golden<T>(name: string): T {
  return JSON.parse(readFileSync(new URL(`../golden/${name}`, import.meta.url), "utf8"))
}

function map(t: Tensor<"float32">, change: (x: number) => number): Tensor<"float32"> {
  return float32(t.shape, t.data.map(change))
}

/** Reads sigmas off the noise that a walk beginning at each index adds to nothing. */
function expectSigmas(scheduler: Scheduler, sigmas: readonly number[]): void {
  const inLogSnr = ["DPMSolverMultistepScheduler", "UniPCMultistepScheduler"]
  const damped = inLogSnr.includes(String(scheduler.config._class_name)) && !scheduler.config.use_flow_sigmas
  const read = sigmas.map((_, index) => {
    scheduler.setBeginIndex(index)
    return scheduler.addNoise(float32([1], [0]), float32([1], [1]), [0]).data[0]
  })
  expectClose(read, damped ? sigmas.map((s) => s / Math.sqrt(s * s + 1)) : sigmas)
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>, tolerance = usual): void {
  if (actual.length !== expected.length) expect(actual).toHaveLength(expected.length)
  let worst = 0
  for (let i = 0; i < expected.length; i++) {
    const error = Math.abs(actual[i] - expected[i]) / Math.max(1, Math.abs(expected[i]))
    worst = Math.max(worst, error)
  }
  // Asked only where it fails, since walks ask tens of thousands of times.
  if (!(worst <= tolerance)) expect(worst).toBeLessThanOrEqual(tolerance)
}
