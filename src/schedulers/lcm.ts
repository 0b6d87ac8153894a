import { clipKeys, positive, readConfig, thresholdKeys } from "./config.ts"
import type { Scheduler } from "./contract.ts"
import { readWalk } from "./custom-walk.ts"
import { distilledKeys, distilledTimesteps } from "./distilled-walk.ts"
import { alphaAt, alphasCumprod } from "./noise-schedule.ts"
import { levelOf, levelsAt, noised, predictX0 } from "./prediction.ts"
import { withinRange } from "./thresholding.ts"
import { trainingTimesteps, walkOver } from "./walk.ts"
import { weightedSum } from "./weighted-sum.ts"

const keys = {
  ...distilledKeys,
  ...thresholdKeys,
  ...clipKeys(false),
  /** Factor on timesteps where the model's boundary condition is reckoned. */
  timestep_scaling: positive.default(10),
}

/** The deviation of data that the boundary condition supposes. */
const sigmaData = 0.5

/**
 * Latent Consistency Models (Luo 2023, Algorithm 3; diffusers `LCMScheduler`), for models distilled so. Each step
 * leaps to a clean sample, held to x itself at t = 0, and noise takes it to the next timestep's level:
 *
 *   clean = c_out x0 + c_skip x     c_skip = d^2 / (s^2 + d^2)    c_out = s / sqrt(s^2 + d^2)    s = 10 t
 *   x'    = sqrt(a') clean + sqrt(1 - a') noise, but at the last step clean
 */
export function lcm(json: unknown): Scheduler {
  const config = readConfig("LCMScheduler", keys, json)
  const products = alphasCumprod(config)
  const walk = walkOver({ timesteps: trainingTimesteps(products.length) }, "refuse")

  return {
    config,
    order: 1,
    initNoiseSigma: 1,
    get timesteps() {
      return walk.plan.timesteps
    },

    setTimesteps(asked) {
      const read = readWalk(config, asked, ["timesteps", "originalInferenceSteps"])
      walk.start({ timesteps: distilledTimesteps(config, read) })
    },

    setBeginIndex: walk.beginAt,

    scaleModelInput: (sample) => sample,

    step(output, timestep, sample, random) {
      const next = walk.plan.timesteps[walk.index(timestep) + 1]
      const level = levelOf(alphaAt(products, timestep))
      const x0 = withinRange(predictX0(config.prediction_type, output, sample, level), config)
      const s = timestep * config.timestep_scaling
      const size = s * s + sigmaData * sigmaData
      const clean = weightedSum([s / Math.sqrt(size), x0], [(sigmaData * sigmaData) / size, sample])
      walk.advance()
      const prevSample =
        next === undefined
          ? clean
          : noised(clean, random.randn(output.shape), levelOf(alphaAt(products, next)))
      return { prevSample, predOriginalSample: clean }
    },

    addNoise: (original, noise, at) => noised(original, noise, levelsAt(products, at)),
  }
}
