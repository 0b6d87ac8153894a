import { describe, expect, test } from "vitest"
import { FormatError, UsageError } from "../../src/ground/errors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { schedulerFromConfig, schedulerNames } from "../../src/schedulers/scheduler.ts"

const sd = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: "scaled_linear" }

describe("names and configurations", () => {
  test.each([
    ["EulerDiscreteScheduler", "EulerDiscreteScheduler", {}],
    ["ddim", "DDIMScheduler", {}],
    ["Euler A", "EulerAncestralDiscreteScheduler", {}],
    ["Euler Karras", "EulerDiscreteScheduler", { use_karras_sigmas: true }],
    ["LMS", "LMSDiscreteScheduler", {}],
    ["LMS Karras", "LMSDiscreteScheduler", { use_karras_sigmas: true, use_beta_sigmas: false }],
    ["Heun", "HeunDiscreteScheduler", {}],
    ["DDPM", "DDPMScheduler", {}],
    ["UniPC", "UniPCMultistepScheduler", { solver_type: "bh2" }],
    ["LCM", "LCMScheduler", { original_inference_steps: 50 }],
    ["tcd", "TCDScheduler", {}],
    ["PLMS", "PNDMScheduler", { skip_prk_steps: true }],
    [
      "DPM++ 2M Karras",
      "DPMSolverMultistepScheduler",
      { algorithm_type: "dpmsolver++", use_karras_sigmas: true },
    ],
    [
      "dpm++ 2m sde heun exponential",
      "DPMSolverMultistepScheduler",
      { algorithm_type: "sde-dpmsolver++", solver_type: "heun", use_exponential_sigmas: true },
    ],
    ["DPM++ 3M SDE", "DPMSolverMultistepScheduler", { solver_order: 3, use_karras_sigmas: false }],
  ])("%s", (name, className, keys) => {
    const { config } = schedulerFromConfig(
      { _class_name: "PNDMScheduler", ...sd, use_karras_sigmas: true },
      name,
    )
    expect(config).toMatchObject({ _class_name: className, beta_end: 0.012, ...keys })
  })

  test("every listed name makes a scheduler that can walk", () => {
    expect(schedulerNames.length).toBeGreaterThan(20)
    for (const name of schedulerNames) {
      const scheduler = schedulerFromConfig(sd, name)
      scheduler.setTimesteps(8)
      expect(scheduler.timesteps.length).toBeGreaterThanOrEqual(8)
    }
  })

  test("a class's defaults do not follow the configuration to another class", () => {
    const { config } = schedulerFromConfig(sd, "ddim")
    expect(config.timestep_spacing).toBe("leading")
    expect(schedulerFromConfig(config, "dpmsolver-multistep").config.timestep_spacing).toBe("linspace")
    const chosen = schedulerFromConfig({ ...sd, timestep_spacing: "leading" }, "ddim").config
    expect(schedulerFromConfig(chosen, "dpmsolver-multistep").config.timestep_spacing).toBe("leading")
  })

  test("null is a missing key, and UniPC's words are DPM-Solver's", () => {
    const given = {
      ...sd,
      solver_type: "bh2",
      variance_type: null,
      trained_betas: null,
      lambda_min_clipped: null,
    }
    expect(schedulerFromConfig(given, "dpmsolver-multistep").config).toMatchObject({
      solver_type: "midpoint",
    })
  })

  test("unknown names are answered with the known ones", () => {
    expect(() => schedulerFromConfig(sd, "DPM++ 2M Karas")).toThrow(UsageError)
    expect(() => schedulerFromConfig(sd, "DPM++ SDE")).toThrow(
      /no scheduler "DPM\+\+ SDE"; choose one of ddim, ddpm, pndm, euler,/,
    )
    expect(() => schedulerFromConfig(sd)).toThrow("names no class")
    expect(() => schedulerFromConfig({ _class_name: "DEISMultistepScheduler" })).toThrow(UsageError)
  })

  test.each([
    [{ beta_schedule: "sigmoid" }, '"beta_schedule": "sigmoid"; limn needs "linear" or'],
    [{ num_train_timesteps: 0 }, "limn needs a positive integer"],
    [{ use_karras_sigmas: true, use_beta_sigmas: true }, "one at most"],
    [{ algorithm_type: "dpmsolver" }, 'set "final_sigmas_type" to "sigma_min"'],
    [
      { algorithm_type: "sde-dpmsolver", solver_order: 3, final_sigmas_type: "sigma_min" },
      "has no third order",
    ],
    [{ dynamic_thresholding_ratio: 1.5 }, "limn needs a number from 0 to 1"],
    [{ variance_type: "learned_range" }, "do not learn variances"],
    [{ trained_betas: [0.1, 0.2] }, '"trained_betas" has 2 entries; limn needs 1000'],
  ])("refuses %o", (keys, message) => {
    const make = () => schedulerFromConfig(keys, "dpmsolver-multistep")
    expect(make).toThrow(FormatError)
    expect(make).toThrow(message)
  })

  test.each([null, [], "euler", 3])("refuses %o for a configuration", (json) => {
    expect(() => schedulerFromConfig(json, "euler")).toThrow(FormatError)
  })

  test("PNDM with Runge-Kutta needs four steps", () => {
    const scheduler = schedulerFromConfig(sd, "pndm")
    expect(() => scheduler.setTimesteps(3)).toThrow("at least 4 steps")
  })

  test("zero SNR and epsilon do not go together", () => {
    const keys = { ...sd, rescale_betas_zero_snr: true, timestep_spacing: "trailing" }
    const scheduler = schedulerFromConfig(keys, "ddim")
    scheduler.setTimesteps(4)
    const x = float32([1], [1])
    expect(() => scheduler.step(x, scheduler.timesteps[0], x, cpuGenerator(0))).toThrow("At zero SNR")
  })

  test("eta is a share", () => {
    const scheduler = schedulerFromConfig(sd, "ddim")
    scheduler.setTimesteps(4)
    const x = float32([1], [1])
    expect(() => scheduler.step(x, 750, x, cpuGenerator(0), { eta: 1.5 })).toThrow("choose it from 0 to 1")
  })
})

describe("configurations from elsewhere", () => {
  const strange = [Number.NaN, Number.POSITIVE_INFINITY, -1, 0, 0.5, 3, "", "zero", true, [], [0.1], {}, null]
  test.each([
    "DDIMScheduler",
    "DDPMScheduler",
    "PNDMScheduler",
    "EulerDiscreteScheduler",
    "EulerAncestralDiscreteScheduler",
    "HeunDiscreteScheduler",
    "LMSDiscreteScheduler",
    "DPMSolverMultistepScheduler",
    "UniPCMultistepScheduler",
    "LCMScheduler",
    "TCDScheduler",
    "EDMEulerScheduler",
    "EDMDPMSolverMultistepScheduler",
    "FlowMatchEulerDiscreteScheduler",
  ])("%s reads or refuses whatever its keys hold", (name) => {
    const keys = Object.keys(schedulerFromConfig({}, name).config).filter((key) => !key.startsWith("_"))
    expect(keys.length).toBeGreaterThan(6)
    let refused = 0
    for (const key of [...keys, "trained_betas", "sigma_min", "shift_terminal", "variance_type", "solver_p"])
      for (const value of strange) {
        try {
          const scheduler = schedulerFromConfig({ [key]: value }, name)
          scheduler.setTimesteps(2)
          if (scheduler.timesteps.length === 0) expect.fail(`${key} = ${value} leaves no steps`)
        } catch (error) {
          refused++
          if (!(error instanceof FormatError || error instanceof UsageError)) throw error
        }
      }
    expect(refused).toBeGreaterThan(keys.length)
  })
})
