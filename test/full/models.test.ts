import { existsSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Model, TextToImageOptions } from "../../src/index.ts"
import { load, textToImage } from "../../src/index.ts"
import type { Network } from "../../src/pipelines/network.ts"
import { relativeDifference, tensorsIn } from "../unit/golden.ts"
import type { ModelFamily } from "../unit/tiny-stable-diffusion.ts"
import { tinyStableDiffusion1 } from "../unit/tiny-stable-diffusion.ts"
import { fullStableDiffusion1, fullTurbo, parameterCount, tinyTurbo, writeFullModel } from "./full-models.ts"
import { watchMemory } from "./memory.ts"

/**
 * Whole models at full size. They are written into LIMN_FULL_DIR (9 GB), where `python reference/full_models.py FOLDER`
 * adds what torch makes of each part. LIMN_FULL_TINY=1 takes tiny models in their place, which shows only that this works.
 */
const tiny = process.env.LIMN_FULL_TINY !== undefined
const given = process.env.LIMN_FULL_DIR
const present = tiny || given !== undefined
if (!present) console.log("Skipped: set LIMN_FULL_DIR to a folder with room for 9 GB, or LIMN_FULL_TINY=1.")

interface Case {
  readonly name: string
  readonly family: ModelFamily
  readonly parameters: number
  readonly options: Omit<TextToImageOptions, "prompt">
  /** Runs of the U-Net; PNDM begins with one more than its steps. */
  readonly runs: number
  /** For machines of 24 GB. */
  readonly lowMemory: boolean
}

const size = tiny ? { width: 64, height: 64 } : { width: 512, height: 512 }
const cases: readonly Case[] = [
  {
    name: "stable-diffusion-1",
    family: tiny ? tinyStableDiffusion1 : fullStableDiffusion1,
    parameters: 1_066_235_307,
    options: { ...size, steps: 2, guidanceScale: 7.5 },
    runs: 3,
    lowMemory: false,
  },
  {
    name: "sdxl-turbo",
    family: tiny ? tinyTurbo : fullTurbo,
    parameters: 3_468_837_867,
    options: { ...size, steps: 1, guidanceScale: 0 },
    runs: 1,
    lowMemory: true,
  },
]

describe.skipIf(!present).each(cases)("$name", ({ name, family, parameters, options, runs, lowMemory }) => {
  const folder =
    given === undefined
      ? join(tmpdir(), `limn-${name}-${process.pid}`)
      : join(given, tiny ? `tiny-${name}` : name)
  let model: Model
  beforeAll(async () => {
    writeFullModel(folder, family)
    model = await load(folder, { device: "cpu", lowMemory })
  }, 3_600_000)
  afterAll(async () => {
    await model?.close()
    if (given === undefined) rmSync(folder, { recursive: true })
  })

  test("draws, and says how long it took and how much memory", async () => {
    if (!tiny) expect(parameterCount(family)).toBe(parameters)
    const memory = watchMemory()
    let steps = 0
    const start = performance.now()
    const { image, timings } = await textToImage(model, {
      ...options,
      prompt: "a red heart",
      seed: 7,
      onStep() {
        steps++
      },
    })
    const whole = performance.now() - start
    const { anonymous, files } = memory.stop()
    const stages = Object.entries({ ...timings, whole }).map(([stage, ms]) => `${stage} ${seconds(ms)}`)
    console.log(
      `${name}, ${image.pixels.width}x${image.pixels.height}, ${steps} runs of the U-Net: ${stages.join(", ")}; ` +
        `at most ${anonymous.toFixed(2)} GB beside files, ${files.toFixed(2)} GB of files`,
    )
    expect(steps).toBe(runs)
    expect(new Set(image.pixels.data).size).toBeGreaterThan(50)
    // Memory that is no file's pages, on a machine of 24 GB.
    expect(anonymous).toBeLessThan(20)
  })

  /** The networks of each part, by the name of the file in which torch's tensors are. */
  const networks: readonly (readonly [file: string, networkOf: (model: Model) => Network])[] = [
    ["text_encoder", ({ textEncoders }) => textEncoders[0].network],
    ["text_encoder_2", ({ textEncoders }) => textEncoders[1].network],
    ["unet", ({ unet }) => unet],
    ["vae-encoder", ({ encoder }) => encoder],
    ["vae-decoder", ({ decoder }) => decoder],
  ]
  for (const [part, networkOf] of networks) {
    const path = join(folder, `torch-${part}.safetensors`)
    test.skipIf(!existsSync(path))(`${part} agrees with torch to 1e-3`, async () => {
      const tensors = Object.entries(tensorsIn(path))
      const named = (kind: string) =>
        Object.fromEntries(
          tensors.flatMap(([name, t]) => (name.startsWith(kind) ? [[name.slice(kind.length), t]] : [])),
        )
      const [feeds, expected] = [named("in."), named("out.")]
      const start = performance.now()
      const found = await networkOf(model).run(feeds, Object.keys(expected))
      const differences = Object.entries(expected).map(([name, t]) => relativeDifference(found[name], t))
      console.log(
        `${name}, ${part}: ${seconds(performance.now() - start)}, largest difference ${Math.max(...differences).toExponential(1)}`,
      )
      for (const difference of differences) expect(difference).toBeLessThan(1e-3)
    })
  }
})

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(1)} s`
}
