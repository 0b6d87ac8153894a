import { noiseScheduleKeys, readConfig, rescaleBetasZeroSnr, timestepSpacing, walkKeys } from "./config.ts"
import type { Scheduler, StepResult } from "./contract.ts"
import type { AskedWalk } from "./custom-walk.ts"
import { sigmaTable } from "./noise-schedule.ts"
import { predictX0AtSigma } from "./prediction.ts"
import type { SigmaStep } from "./sigma-scheduler.ts"
import { sigmaScheduler } from "./sigma-scheduler.ts"
import { sigmaAt } from "./sigma-spacing.ts"
import { fractionalTimesteps } from "./timesteps.ts"
import { trainingPlan } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

const keys = {
  ...noiseScheduleKeys,
  ...walkKeys,
  rescale_betas_zero_snr: rescaleBetasZeroSnr,
  timestep_spacing: timestepSpacing.default("linspace"),
}

const f = Math.fround

/**
 * Euler's method with ancestral sampling (k-diffusion's "Euler a"; diffusers `EulerAncestralDiscreteScheduler`).
 * Each step goes below the next noise level and noise lifts it there again:
 *
 *   up^2 = sigma'^2 (sigma^2 - sigma'^2) / sigma^2    down^2 = sigma'^2 - up^2
 *   x'   = x + (down - sigma) (x - x0) / sigma + up noise
 *
 * Noise is drawn at every step, the last one, where up is 0, included.
 */
export function eulerAncestral(json: unknown): Scheduler {
  const config = readConfig("EulerAncestralDiscreteScheduler", keys, json)
  const table = sigmaTable(config)

  function plan({ steps }: AskedWalk) {
    const timesteps = fractionalTimesteps(config, steps)
    const sigmas = Float32Array.from([...timesteps.map((t) => sigmaAt(table, t)), 0])
    return { timesteps, sigmas }
  }

  function step({ output, sample, sigma, nextSigma, random }: SigmaStep): StepResult {
    const x0 = predictX0AtSigma(config.prediction_type, output, sample, sigma)
    const from = f(sigma * sigma)
    const to = f(nextSigma * nextSigma)
    const up = f(Math.sqrt(f(f(to * f(from - to)) / from)))
    const down = f(Math.sqrt(f(to - f(up * up))))
    const stride = (down - sigma) / sigma
    const noise = random.randn(output.shape)
    return {
      prevSample: weightedSum([1 + stride, sample], [-stride, x0], [up, noise]),
      predOriginalSample: x0,
    }
  }

  return sigmaScheduler({ config, training: trainingPlan(table), plan, step })
}
