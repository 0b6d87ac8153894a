import { readConfig } from "./config.ts"
import type { Scheduler } from "./contract.ts"
import { readWalk } from "./custom-walk.ts"
import { checkEta } from "./ddim.ts"
import { distilledKeys, distilledTimesteps } from "./distilled-walk.ts"
import { alphaAt, alphasCumprod } from "./noise-schedule.ts"
import { levelOf, levelsAt, noised, predictEpsilon, predictX0 } from "./prediction.ts"
import { trainingTimesteps, walkOver } from "./walk.ts"

const f = Math.fround

/**
 * Trajectory Consistency Distillation's sampling (Zheng 2024, Algorithm 4; diffusers `TCDScheduler`), for models
 * distilled so. Each step leaps below the next timestep t', to s = floor((1 - eta) t'), and noise takes it up again:
 *
 *   y  = sqrt(a_s) x0 + sqrt(1 - a_s) epsilon
 *   x' = sqrt(a' / a_s) y + sqrt(1 - a' / a_s) noise, but at the last step, where s = 0, and for eta 0, y
 */
export function tcd(json: unknown): Scheduler {
  const config = readConfig("TCDScheduler", distilledKeys, json)
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
      walk.start({ timesteps: distilledTimesteps(config, read, read.originalInferenceSteps !== undefined) })
    },

    setBeginIndex: walk.beginAt,

    scaleModelInput: (sample) => sample,

    step(output, timestep, sample, random, { eta = 0.3 } = {}) {
      checkEta(eta)
      const next = walk.plan.timesteps[walk.index(timestep) + 1]
      const level = levelOf(alphaAt(products, timestep))
      const x0 = predictX0(config.prediction_type, output, sample, level)
      const epsilon = predictEpsilon(config.prediction_type, output, sample, level)
      const a = alphaAt(products, Math.floor(f(f(1 - eta) * (next ?? 0))))
      let prevSample = noised(x0, epsilon, levelOf(a))
      if (eta > 0 && next !== undefined) {
        const ratio = f(alphaAt(products, next) / a)
        prevSample = noised(prevSample, random.randn(output.shape), levelOf(ratio))
      }
      walk.advance()
      return { prevSample, predOriginalSample: x0 }
    },

    addNoise: (original, noise, at) => noised(original, noise, levelsAt(products, at)),
  }
}
