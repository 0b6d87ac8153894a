import { existsSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { float32 } from "../../src/ground/tensor.ts"
import type { Conditioning, LoadOptions, Model } from "../../src/index.ts"
import { encodePrompt, load, textToImage } from "../../src/index.ts"
import { cosineOf, relativeDifference, tensorsIn } from "../unit/golden.ts"
import { tinyKolors } from "../unit/tiny-kolors.ts"
import { fullKolors, parameterCount, writeFullModel } from "./full-models.ts"
import { measured } from "./memory.ts"

/**
 * Kolors at full size, with random weights in half precision. It is written into LIMN_FULL_DIR (17 GB, and 10 GB of
 * integers), where `python reference/full_models.py FOLDER kolors` adds what torch makes of its text encoder.
 * LIMN_FULL_TINY=1 takes a tiny model in its place.
 */
const tiny = process.env.LIMN_FULL_TINY !== undefined
const given = process.env.LIMN_FULL_DIR
const present = tiny || given !== undefined
if (!present) console.log("Skipped: set LIMN_FULL_DIR to a folder with room for 27 GB, or LIMN_FULL_TINY=1.")

const folder =
  given === undefined
    ? join(tmpdir(), `limn-kolors-${process.pid}`)
    : join(given, tiny ? "tiny-kolors" : "kolors")
const torch = join(folder, "torch-text_encoder.safetensors")
const prompt = "a red heart, ".repeat(100)

describe.skipIf(!present)("Kolors", () => {
  beforeAll(() => {
    const family = tiny ? tinyKolors : fullKolors
    if (!tiny) expect(parameterCount(family)).toBe(8_640_354_283)
    writeFullModel(folder, family)
  }, 3_600_000)
  afterAll(() => {
    if (given === undefined) rmSync(folder, { recursive: true })
  })
  let model: Model | undefined
  afterEach(() => model?.close())
  const open = async (options: LoadOptions) => {
    model = await load(folder, { device: "cpu", ...options })
    return model
  }

  let exact: Conditioning | undefined
  test.each([
    { textEncoder: "float32", least: 1, most: 4 },
    { textEncoder: "int8", least: 0.999, most: 4 },
    { textEncoder: "int4", least: 0.9, most: 4 },
  ] as const)("reads 256 tokens in $textEncoder", async ({ textEncoder, least, most }) => {
    const [opened] = await measured(`${textEncoder}, loaded, and rounded where it was not`, () =>
      open({ textEncoder }),
    )
    const [found, memory] = await measured(`${textEncoder}, 256 tokens`, () => encodePrompt(opened, prompt))
    expect(memory.anonymous + memory.files).toBeLessThan(most)
    exact ??= found
    for (const name of ["encoderHiddenStates", "textEmbeds"]) {
      const cosine = cosineOf(found[name], exact[name])
      console.log(`${textEncoder}, ${name}: cosine ${cosine.toFixed(6)} to float32`)
      expect(cosine).toBeGreaterThan(least - 1e-6)
    }
  })

  test.skipIf(!existsSync(torch))("its text encoder agrees with torch to 1e-3", async () => {
    const tensors = Object.entries(tensorsIn(torch))
    const named = (kind: string) =>
      Object.fromEntries(
        tensors.flatMap(([name, t]) => (name.startsWith(kind) ? [[name.slice(kind.length), t]] : [])),
      )
    const { textEncoders } = await open({ textEncoder: "float32" })
    const found = await textEncoders[0].network.run(named("in."))
    for (const [name, expected] of Object.entries(named("out."))) {
      const difference = relativeDifference(found[name], expected)
      console.log(`${name}: largest difference ${difference.toExponential(1)} of the largest value`)
      expect(difference).toBeLessThan(1e-3)
    }
  })

  test("draws 512 x 512 with guidance", async () => {
    const opened = await open({ textEncoder: "int8", lowMemory: true })
    const side = tiny ? 64 : 512
    const options = { prompt: "a red heart", seed: 7, steps: 2, width: side, height: side }
    const [{ image, timings }, memory] = await measured(`${side} x ${side}, two steps`, () =>
      textToImage(opened, options),
    )
    const stages = Object.entries(timings).map(([stage, ms]) => `${stage} ${(ms / 1000).toFixed(1)} s`)
    console.log(`of that ${stages.join(", ")}`)
    expect(new Set(image.pixels.data).size).toBeGreaterThan(50)
    expect(memory.anonymous + memory.files).toBeLessThan(12)
  })

  test("goes one step at 1024 x 1024", async () => {
    const { unet, unetConfig, textEncoders } = await open({ lowMemory: true })
    const side = tiny ? 8 : 128
    const width = textEncoders[0].hiddenSize
    const random = cpuGenerator(3)
    const feeds = {
      sample: random.randn([1, unetConfig.inChannels, side, side]),
      timestep: float32([1], [500]),
      encoderHiddenStates: random.randn([1, 256, width]),
      textEmbeds: random.randn([1, width]),
      timeIds: float32([1, 6], [8 * side, 8 * side, 0, 0, 8 * side, 8 * side]),
    }
    const [{ output }, memory] = await measured(`one step at ${8 * side} x ${8 * side}`, () =>
      unet.run(feeds),
    )
    expect(output.data.every(Number.isFinite)).toBe(true)
    expect(memory.anonymous + memory.files).toBeLessThan(12)
  })
})
