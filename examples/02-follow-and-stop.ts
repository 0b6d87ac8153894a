// `denoise` is a generator: the caller sees every step, and leaves when it has seen enough.
//   npx tsx --conditions=source examples/02-follow-and-stop.ts [MODEL]

import type { Tensor } from "limn"
import { cpuGenerator, denoise, encodePrompt, load, schedulerFromConfig } from "limn"

const model = await load(process.argv[2] ?? "models/inkling")
const scheduler = schedulerFromConfig(model.schedulerConfig, "euler")
scheduler.setTimesteps(20)

const random = cpuGenerator(7)
const [height, width] = model.size.map((pixels) => pixels / model.latentPixels)
const noise = random.randn([1, model.unetConfig.inChannels, height, width])
const latents = { ...noise, data: noise.data.map((v) => v * scheduler.initNoiseSigma) }
const conditioning = await encodePrompt(model, "a red heart")

let before: Tensor<"float32"> | undefined
for await (const step of denoise(model, { latents, conditioning, scheduler, random })) {
  // What the model believes the picture to be at this point; it settles long before the walk ends.
  const belief = step.predOriginalSample
  const change = before ? distance(belief, before) : 1
  console.log(
    `step ${step.step} of ${step.steps}, timestep ${Math.round(step.timestep)}: changed ${change.toFixed(4)}`,
  )
  if (change < 0.02) break
  before = belief
}

/** The root of the mean squared difference. */
function distance(a: Tensor<"float32">, b: Tensor<"float32">): number {
  return Math.sqrt(a.data.reduce((sum, v, i) => sum + (v - b.data[i]) ** 2, 0) / a.data.length)
}
