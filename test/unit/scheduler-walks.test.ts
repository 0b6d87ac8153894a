import { describe, expect, test } from "vitest"
import { UsageError } from "../../src/ground/errors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32 } from "../../src/ground/tensor.ts"
import type { CustomWalk, Scheduler } from "../../src/schedulers/scheduler.ts"
import { schedulerFromConfig } from "../../src/schedulers/scheduler.ts"

type Config = Record<string, unknown>

const sd = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" }
const flowSigmas = { use_flow_sigmas: true, prediction_type: "flow_prediction" }

describe("walks of one's own", () => {
  test.each<[name: string, config: Config, walk: CustomWalk, message: string]>([
    ["ddim", {}, { timesteps: [5, 1] }, "DDIMScheduler takes no timesteps; give it a number of steps"],
    ["euler", {}, { mu: 1 }, "EulerDiscreteScheduler takes no mu"],
    ["euler", {}, { steps: 3, timesteps: [5, 1] }, '3 steps do not fit 2 given ones; leave "steps" out'],
    ["euler", {}, { timesteps: [] }, "do not fall; give numbers from 1000 to 0"],
    ["euler", {}, { timesteps: [5, 5] }, "do not fall"],
    ["euler", {}, { timesteps: [1, 5] }, "do not fall"],
    ["ddpm", {}, { timesteps: [1200, 5] }, "do not fall"],
    ["euler", {}, { sigmas: [3, Number.NaN] }, "The sigmas given do not fall; give numbers 0 or more"],
    ["euler", {}, { sigmas: [3] }, "One sigma makes no step"],
    ["flow-match-euler", {}, { sigmas: [1.5, 0.5] }, "Sigma 1.5 is no step of rectified flow"],
    ["unipc", flowSigmas, { sigmas: [0.5, 0] }, "Sigma 0 is no step of rectified flow"],
    ["heun", { use_karras_sigmas: true }, { timesteps: [5, 1] }, "spaces sigmas itself"],
    ["dpmsolver-multistep", { use_lu_lambdas: true }, { timesteps: [5, 1] }, "spaces sigmas itself"],
    ["unipc", {}, { sigmas: [0.5, 0.1] }, 'UniPC takes sigmas with "use_flow_sigmas" only'],
    ["unipc", { ...flowSigmas, use_karras_sigmas: true }, { sigmas: [0.5] }, "spaces sigmas itself"],
    ["lcm", {}, { steps: 51 }, "51 steps are not possible for 50 original inference steps"],
    ["tcd", {}, { steps: 9, originalInferenceSteps: 8 }, "choose at most 8"],
    ["lcm", {}, { steps: 4, originalInferenceSteps: 0 }, "0 originalInferenceSteps are not possible"],
    ["lcm", { num_train_timesteps: 20 }, { steps: 4 }, "are more than the 20 of training"],
    ["flow-match-euler", { use_dynamic_shifting: true }, { steps: 4 }, "give mu to setTimesteps"],
    ["flow-match-euler", {}, { steps: 4, mu: 1 }, "leave mu out"],
    ["flow-match-euler", {}, { timesteps: [9, 5], sigmas: [0.5] }, "2 timesteps do not fit 1 sigmas"],
  ])("%s %o %o is refused", (name, config, walk, message) => {
    const scheduler = schedulerFromConfig({ ...sd, ...config }, name)
    expect(() => scheduler.setTimesteps(walk)).toThrow(UsageError)
    expect(() => scheduler.setTimesteps(walk)).toThrow(message)
  })

  test.each(["ddpm", "euler", "heun", "dpmsolver-multistep"])(
    "%s takes its own timesteps to the same end",
    (name) => {
      const ends = ["spread", "given"].map((how) => {
        const scheduler = schedulerFromConfig(sd, name)
        scheduler.setTimesteps(7)
        // Heun lists twice what lies between the first and the last.
        const timesteps = [...new Set(Array.from(scheduler.timesteps))]
        scheduler.setTimesteps(how === "given" ? { timesteps } : 7)
        return Array.from(walked(scheduler).data)
      })
      expect(ends[1]).toEqual(ends[0])
    },
  )
})

describe("models of other noise", () => {
  const betas = { _class_name: "DDIMScheduler", ...sd }
  const edm = { _class_name: "EDMEulerScheduler" }
  const flow = { _class_name: "FlowMatchEulerDiscreteScheduler" }
  test.each([
    [betas, "flow-match-euler", /^FlowMatchEulerDiscreteScheduler walks rectified flow, but this model was/],
    [
      betas,
      "edm-dpmsolver-multistep",
      /EDM's noise levels, .* a schedule of betas \(DDIMScheduler\); choose/,
    ],
    [edm, "DPM++ 2M Karras", /a schedule of betas, but this model was trained on EDM's noise levels/],
    [flow, "Euler", /but this model was trained on rectified flow/],
  ])("%o does not go to %s", (config, name, message) => {
    expect(() => schedulerFromConfig(config, name)).toThrow(UsageError)
    expect(() => schedulerFromConfig(config, name)).toThrow(message)
  })

  test("go where the model is said to be walked too", () => {
    const alsoWalks = ["EDMDPMSolverMultistepScheduler"]
    const { config } = schedulerFromConfig(betas, "edm-dpmsolver-multistep", { alsoWalks })
    expect(config).toMatchObject({ _class_name: "EDMDPMSolverMultistepScheduler", sigma_max: 80 })
    expect(() => schedulerFromConfig(betas, "edm-euler", { alsoWalks })).toThrow(UsageError)
  })

  test("go to other algorithms for the same noise, and keep their levels", () => {
    const { config } = schedulerFromConfig({ ...edm, sigma_max: 60 }, "edm-dpmsolver-multistep")
    expect(config).toMatchObject({ _class_name: "EDMDPMSolverMultistepScheduler", sigma_max: 60 })
  })

  const noise = cpuGenerator(11).randn([2, 5])
  const x0 = cpuGenerator(12).rand([2, 5])
  const edmOutput = (sample: Tensor<"float32">, t: number) => {
    const sigma = Math.exp(4 * t)
    const size = Math.sqrt(sigma * sigma + 0.25)
    return sample.data.map((x, i) => ((x0.data[i] - (0.25 * x) / (size * size)) * size) / (sigma * 0.5))
  }
  const flowOutput = (sample: Tensor<"float32">, t: number) =>
    sample.data.map((x, i) => (x - x0.data[i]) / (t / 1000))
  const sde = { algorithm_type: "sde-dpmsolver++" }
  test.each<[name: string, config: Config, model: typeof edmOutput]>([
    ["edm-euler", {}, edmOutput],
    ["edm-euler", { sigma_schedule: "exponential" }, edmOutput],
    ["edm-dpmsolver-multistep", { solver_order: 3 }, edmOutput],
    // diffusers has no third order here.
    ["edm-dpmsolver-multistep", { ...sde, solver_order: 3 }, edmOutput],
    ["edm-dpmsolver-multistep", { ...sde, solver_order: 3, solver_type: "heun" }, edmOutput],
    ["flow-match-euler", { shift: 3 }, flowOutput],
    ["flow-match-euler", { stochastic_sampling: true }, flowOutput],
  ])("%s %o arrives at x0 when the model knows it", (name, config, model) => {
    const scheduler = schedulerFromConfig(config, name)
    const random = cpuGenerator(13)
    scheduler.setTimesteps(17)
    scheduler.setBeginIndex(0)
    let sample = scheduler.addNoise(x0, noise, [0, 0])
    for (const t of Array.from(scheduler.timesteps)) {
      const result = scheduler.step(float32([2, 5], model(sample, t)), t, sample, random)
      expectClose(result.predOriginalSample.data, x0.data)
      sample = result.prevSample
    }
    expectClose(sample.data, x0.data)
  })
})

describe("the last step", () => {
  const lists = { solver_order: [1, 2, 3], solver_type: ["midpoint", "heun", "bh1"] }
  const solvers = lists.solver_order.flatMap((solver_order) =>
    lists.solver_type.map((solver_type) => ({ solver_order, solver_type })),
  )
  test.each([
    ["dpmsolver-multistep", { ...sd, use_karras_sigmas: true }],
    ["unipc", { ...sd, use_karras_sigmas: true }],
    ["edm-dpmsolver-multistep", {}],
  ])("of %s is none where the walk is already at the lowest level, or reaches 0", (name, base) => {
    for (const solver of solvers)
      for (const lower_order_final of [true, false]) {
        const config = { ...base, ...solver, lower_order_final }
        for (const final_sigmas_type of ["sigma_min", "zero"]) {
          const scheduler = schedulerFromConfig({ ...config, final_sigmas_type }, name)
          for (const steps of [1, 2, 16]) {
            scheduler.setTimesteps(steps)
            expect(Math.max(...walked(scheduler).data.map(Math.abs))).toBeLessThan(100)
          }
        }
      }
  })
})

/** Where a scheduler goes with a model of no meaning. */
function walked(scheduler: Scheduler): Tensor<"float32"> {
  const random = cpuGenerator(3)
  let sample = random.randn([1, 6])
  for (const t of Array.from(scheduler.timesteps)) {
    const seen = scheduler.scaleModelInput(sample, t)
    const output = float32(
      seen.shape,
      seen.data.map((x) => Math.sin(x / 2 + t / 400)),
    )
    sample = scheduler.step(output, t, sample, random).prevSample
  }
  return sample
}

/** To what float32 leaves of samples as large as sigma 80. */
function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
  const errors = Array.from(expected, (e, i) => Math.abs(actual[i] - e))
  expect(actual.length).toBe(expected.length)
  expect(Math.max(...errors)).toBeLessThanOrEqual(1e-4)
}
