import { UsageError } from "../ground/errors.ts"
import type { Tensor } from "../ground/tensor.ts"
import { flag, noiseScheduleKeys, readConfig, timestepSpacing, walkKeys } from "./config.ts"
import type { Scheduler } from "./contract.ts"
import { readWalk } from "./custom-walk.ts"
import { alphaAt, alphasCumprod } from "./noise-schedule.ts"
import { levelOf, levelsAt, noised, predictEpsilon, predictX0 } from "./prediction.ts"
import { wholeTimesteps } from "./timesteps.ts"
import { trainingTimesteps, unplanned } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

const keys = {
  ...noiseScheduleKeys,
  ...walkKeys,
  timestep_spacing: timestepSpacing.default("leading"),
  /** Past the last step lies a clean sample; otherwise the noise level of timestep 0. */
  set_alpha_to_one: flag.default(false),
  /** Begin with one doubled step instead of three Runge-Kutta steps of four model calls each. */
  skip_prk_steps: flag.default(false),
}

/** Linear multistep weights, newest output first. (Liu 2022, equation 12, and its lower orders) */
const multistep = [[1], [3 / 2, -1 / 2], [23 / 12, -16 / 12, 5 / 12], [55 / 24, -59 / 24, 37 / 24, -9 / 24]]

/** Runge-Kutta weights of the four calls of one step. (Liu 2022, equation 13) */
const rungeKutta = [1 / 6, 1 / 3, 1 / 3, 1 / 6]

/** Steps that Runge-Kutta takes before the multistep method has its history. */
const rungeKuttaSteps = 3

const f = Math.fround

/**
 * Pseudo Numerical methods for Diffusion Models (Liu 2022; diffusers `PNDMScheduler`): the outputs of up to four
 * calls are averaged as Runge-Kutta or linear multistep weights say, and the average e moves the sample by the
 * paper's transfer (equation 9). With a for alphasCumprod at t and a' at the timestep after it,
 *
 *   x' = sqrt(a' / a) x - (a' - a) e / (a sqrt(1 - a') + sqrt(a (1 - a) a'))
 */
export function pndm(json: unknown): Scheduler {
  const config = readConfig("PNDMScheduler", keys, json)
  const products = alphasCumprod(config)
  const afterLast = config.set_alpha_to_one ? 1 : products[0]
  let timesteps = trainingTimesteps(products.length)
  let stride: number | undefined
  /** Calls since `setTimesteps`. */
  let calls = 0
  /** The first output of each step before, newest first. */
  let history: Tensor<"float32">[] = []
  /** The outputs of this Runge-Kutta step. */
  let stages: Tensor<"float32">[] = []
  /** The sample that this step, of several calls, started from. */
  let start: Tensor<"float32"> | undefined

  function transfer(
    sample: Tensor<"float32">,
    timestep: number,
    next: number,
    average: Tensor<"float32">,
  ): Tensor<"float32"> {
    const a = alphaAt(products, timestep)
    const aNext = next >= 0 ? products[next] : afterLast
    const e = predictEpsilon(config.prediction_type, average, sample, levelOf(a))
    const b = f(1 - a)
    const bNext = f(1 - aNext)
    const denominator = f(f(a * f(Math.sqrt(bNext))) + f(Math.sqrt(f(f(a * b) * aNext))))
    return weightedSum([f(Math.sqrt(f(aNext / a))), sample], [-f(aNext - a) / denominator, e])
  }

  /** One of the four calls of a Runge-Kutta step: at its start, twice half a step on, and at its end. */
  function rungeKuttaCall(
    output: Tensor<"float32">,
    timestep: number,
    sample: Tensor<"float32">,
    halfStride: number,
  ): Tensor<"float32"> {
    const stage = calls % 4
    if (stage === 0) {
      history = [output, ...history]
      stages = []
      start = sample
    }
    stages.push(output)
    const next = timestep - (stage % 2 === 0 ? halfStride : 0)
    const average = stage < 3 ? output : weightedSum(...stages.map((e, i) => [rungeKutta[i], e] as const))
    return transfer(start ?? sample, timesteps[calls - stage], next, average)
  }

  function multistepCall(
    output: Tensor<"float32">,
    timestep: number,
    sample: Tensor<"float32">,
    strideNow: number,
  ): Tensor<"float32"> {
    if (calls === 1 && config.skip_prk_steps) {
      // The second call repeats the first step from where it began, with the mean slope of its two ends.
      const mean = weightedSum([0.5, output], [0.5, history[0]])
      return transfer(start ?? sample, timestep + strideNow, timestep, mean)
    }
    start = sample
    history = [output, ...history.slice(0, 3)]
    const weights = multistep[history.length - 1]
    const average = weightedSum(...history.map((e, i) => [weights[i], e] as const))
    return transfer(sample, timestep, timestep - strideNow, average)
  }

  return {
    config,
    order: 1,
    initNoiseSigma: 1,
    get timesteps() {
      return timesteps
    },

    setTimesteps(walk) {
      const { steps } = readWalk(config, walk)
      const whole = wholeTimesteps(config, steps)
      stride = Math.floor(products.length / steps)
      timesteps = config.skip_prk_steps
        ? Float64Array.from([...whole.slice(0, 2), ...whole.slice(1)])
        : withRungeKutta(whole, Math.floor(stride / 2))
      calls = 0
      history = []
    },

    // The timestep alone says where the walk is.
    setBeginIndex() {},

    scaleModelInput: (sample) => sample,

    step(output, timestep, sample) {
      if (stride === undefined) throw unplanned()
      const x0 = predictX0(config.prediction_type, output, sample, levelOf(alphaAt(products, timestep)))
      const inRungeKutta = !config.skip_prk_steps && calls < 4 * rungeKuttaSteps
      const prevSample = inRungeKutta
        ? rungeKuttaCall(output, timestep, sample, Math.floor(stride / 2))
        : multistepCall(output, timestep, sample, stride)
      calls++
      return { prevSample, predOriginalSample: x0 }
    },

    addNoise: (original, noise, at) => noised(original, noise, levelsAt(products, at)),
  }
}

/** Four calls for each of the first steps: at its start, twice half a step on, and at its end. */
function withRungeKutta(whole: Float64Array, halfStride: number): Float64Array {
  if (whole.length <= rungeKuttaSteps)
    throw new UsageError(
      `PNDM with Runge-Kutta needs at least ${rungeKuttaSteps + 1} steps; choose more, or set skip_prk_steps.`,
    )
  const calls: number[] = []
  for (let i = 0; i < rungeKuttaSteps; i++) {
    const end = whole[i + 1]
    calls.push(whole[i], end + halfStride, end + halfStride, end)
  }
  return Float64Array.from([...calls, ...whole.slice(rungeKuttaSteps)])
}
