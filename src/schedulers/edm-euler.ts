import { readConfig } from "./config.ts"
import type { Scheduler } from "./contract.ts"
import { edmKeys, edmScheduler, edmX0 } from "./edm.ts"
import { eulerStep } from "./euler.ts"

/** Euler's method, with churn, for models in the form of EDM (Karras 2022; diffusers `EDMEulerScheduler`). */
export function edmEuler(json: unknown): Scheduler {
  const config = readConfig("EDMEulerScheduler", edmKeys, json)
  return edmScheduler(config, {
    step: (step) => eulerStep(step, (lifted, from) => edmX0(config, step.output, lifted, from)),
  })
}
