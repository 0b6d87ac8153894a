import { oneOf, readConfig, thresholdKeys, translated } from "./config.ts"
import type { Scheduler } from "./contract.ts"
import { dpmHistory, dpmSolverKeys } from "./dpmsolver-history.ts"
import { edmKeys, edmScheduler, edmX0 } from "./edm.ts"
import { threshold } from "./thresholding.ts"

const keys = {
  ...edmKeys,
  ...thresholdKeys,
  ...dpmSolverKeys,
  algorithm_type: translated(
    { deis: "dpmsolver++" },
    oneOf("dpmsolver++", "sde-dpmsolver++").default("dpmsolver++"),
  ),
}

/**
 * DPM-Solver++, multistep (Lu 2022, arXiv 2211.01095), for models in the form of EDM (Karras 2022; diffusers
 * `EDMDPMSolverMultistepScheduler`), whose samples x0 + sigma epsilon keep alpha at 1. The stochastic form has its
 * third order here, which diffusers does not finish.
 */
export function edmDpmSolverMultistep(json: unknown): Scheduler {
  const config = readConfig("EDMDPMSolverMultistepScheduler", keys, json)
  const history = dpmHistory(config)
  return edmScheduler(config, {
    elsewhere: "last",
    reset: history.clear,
    step({ output, sample, sigma, sigmas, index, random }) {
      const free = edmX0(config, output, sample, sigma)
      const x0 = config.thresholding ? threshold(free, config) : free
      const levelAt = (i: number) => ({ alpha: 1, sigma: sigmas[i] })
      const at = { sample, index, steps: sigmas.length - 1, levelAt, random }
      return { prevSample: history.step(x0, at), predOriginalSample: x0 }
    },
  })
}
