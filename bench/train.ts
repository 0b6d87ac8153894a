import { readFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { cpuGenerator } from "../src/ground/random/cpu-generator.ts"
import { unetConfig } from "../src/models/config/unet.ts"
import { initialize } from "../src/models/parameters/initialize.ts"
import { unetParameters } from "../src/models/parameters/unet.ts"
import { denoising } from "../src/training/objectives/denoising.ts"
import { type Objective, trainerState, trainSteps } from "../src/training/trainer.ts"
import { commonOptions, measured, median, report, rounded } from "./machine.ts"

/**
 * How fast Inkling's U-Net learns: samples per second, from random latents and texts, 32 to an optimizer step, as one
 * batch on all threads and as batches side by side.
 */
const { values: options } = parseArgs({
  options: { ...commonOptions, samples: { type: "string", default: "32" } },
})
const repeats = Number(options.repeats)
const samples = Number(options.samples)

const configPath = join(import.meta.dirname, "../models/inkling/unet/config.json")
const config = unetConfig(JSON.parse(readFileSync(configPath, "utf8")), configPath)
const parameters = unetParameters(config)

function objective(batchSize: number): Objective {
  const shape = [32, config.crossAttentionDim[0]] as const
  const source = cpuGenerator(1)
  return denoising(
    {
      latents: source.randn([256, config.inChannels, 16, 16]),
      captions: { length: 32, row: () => ({ ids: [], length: 0, dropped: "" }), draw: () => 1 },
      states: {
        shape,
        of: async (captions) => source.randn([captions.length, ...shape]),
        close: async () => {},
      },
      alphasCumprod: Float32Array.from({ length: 1000 }, (_, t) => 1 - (t + 0.5) / 1000),
      prediction: "v_prediction",
    },
    config,
    { batchSize, conditionDropout: 0.1 },
  )
}

/** Seconds of every optimizer step but the first, which finds memory cold. */
async function secondsOfSteps(accumulation: number): Promise<number[]> {
  const random = cpuGenerator(2)
  const state = trainerState(initialize(parameters, random), random)
  const seconds: number[] = []
  let last = performance.now()
  for await (const _ of trainSteps(objective(samples / accumulation), state, {
    steps: repeats + 1,
    accumulation,
    learningRate: 1e-4,
    schedule: "constant",
    warmupSteps: 0,
    clipNorm: 1,
    emaDecay: 0.999,
  })) {
    seconds.push((performance.now() - last) / 1000)
    last = performance.now()
  }
  return seconds.slice(1)
}

const rows: object[] = []
for (const accumulation of [1, 2]) {
  const seconds = await secondsOfSteps(accumulation)
  rows.push({
    batches: `${accumulation} x ${samples / accumulation}`,
    "seconds a step, best": rounded(Math.min(...seconds)),
    "seconds a step, median": rounded(median(seconds)),
    "samples a second, best": rounded(samples / Math.min(...seconds)),
    "samples a second, median": rounded(samples / median(seconds)),
  })
}
report("train", measured(options), rows)
