import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Image, Model, PictureOptions, Tensor, TextToImageOptions } from "../../src/index.ts"
import {
  cpuGenerator,
  decodePng,
  denoise,
  encodePrompt,
  imageToImage,
  inpaint,
  load,
  pixels,
  readPngText,
  schedulerFromConfig,
  textToImage,
  UsageError,
} from "../../src/index.ts"
import { readPictureSettings } from "../../src/pipelines/picture-settings.ts"
import { goldenFolder, relativeDifference } from "../unit/golden.ts"

const folder = join(goldenFolder, "pipeline/model")
const prompt = "a red heart"
const quick = { prompt, steps: 2, seed: 3, scheduler: "euler-ancestral" } satisfies PictureOptions

let model: Model
beforeAll(async () => {
  model = await load(folder, { device: "cpu", threads: 1 })
})
afterAll(() => model.close())

function bytes({ pixels }: Image): number[] {
  return Array.from(pixels.data)
}

/** The share of 8-bit values that differ by more than one. */
function farShare(a: Image, b: Image): number {
  const other = bytes(b)
  expect(a.pixels).toMatchObject({ width: b.pixels.width, height: b.pixels.height })
  return bytes(a).filter((v, i) => Math.abs(v - other[i]) > 1).length / other.length
}

describe("schedulers", () => {
  test.each([
    ["ddpm", 3],
    ["Heun", 5],
    ["LMS Karras", 3],
    ["UniPC", 3],
    ["lcm", 3],
    ["tcd", 3],
    ["DPM++ 3M SDE", 3],
  ])("%s draws in %i runs of the model", async (scheduler, runs) => {
    let steps = 0
    const onStep = () => {
      steps++
    }
    const { image, latents } = await textToImage(model, { ...quick, steps: 3, scheduler, onStep })
    expect(steps).toBe(runs)
    expect(latents.data.every(Number.isFinite)).toBe(true)
    expect(new Set(bytes(image)).size).toBeGreaterThan(50)
  })
})

describe("seeds", () => {
  test("the same gives the same bytes, another gives others", async () => {
    const { image: first } = await textToImage(model, quick)
    const { image: again } = await textToImage(model, quick)
    const { image: other } = await textToImage(model, { ...quick, seed: 2n ** 64n - 1n })
    expect(again.toPng()).toEqual(first.toPng())
    expect(bytes(other)).not.toEqual(bytes(first))
  })

  test("one is made up where none is given, and told", async () => {
    const { image, seed } = await textToImage(model, { ...quick, seed: undefined })
    const { image: again } = await textToImage(model, { ...quick, seed })
    expect(bytes(again)).toEqual(bytes(image))
  })

  test("a list draws each picture as its seed does alone, whatever its company", async () => {
    const prompts = [prompt, "a green leaf"]
    const seed = [5, 6, 7, 8]
    const { images } = await textToImage(model, { ...quick, prompt: prompts, imagesPerPrompt: 2, seed })
    expect(images).toHaveLength(4)
    for (const [i, image] of images.entries()) {
      const alone = await textToImage(model, { ...quick, prompt: prompts[i >> 1], seed: seed[i] })
      expect(farShare(image, alone.image)).toBeLessThan(0.001)
    }
  })

  test("one for several pictures draws all their noise in turn", async () => {
    const { images } = await textToImage(model, { ...quick, scheduler: "ddim", imagesPerPrompt: 2 })
    const random = cpuGenerator(quick.seed)
    const shape = [2, 4, 8, 8]
    const latents = random.randn(shape)
    const given = await textToImage(model, {
      ...quick,
      scheduler: "ddim",
      imagesPerPrompt: 2,
      seed: 99,
      latents,
    })
    expect(given.images.map(bytes)).toEqual(images.map(bytes))
  })

  test("of a GPU are other numbers", async () => {
    const { image } = await textToImage(model, quick)
    const { image: other } = await textToImage(model, { ...quick, noise: "cuda" })
    expect(farShare(image, other)).toBeGreaterThan(0.5)
  })
})

describe("a variation of a seed", () => {
  const varied = (options: Partial<TextToImageOptions>) =>
    textToImage(model, { ...quick, scheduler: "ddim", variationOf: 7, seed: 8, ...options })

  test("of strength 0 is that seed's picture, of 1 the other's, and between them another", async () => {
    const [base, other] = await Promise.all(
      [7, 8].map((seed) => textToImage(model, { ...quick, scheduler: "ddim", seed })),
    )
    expect(bytes((await varied({ variationStrength: 0 })).image)).toEqual(bytes(base.image))
    expect(bytes((await varied({ variationStrength: 1 })).image)).toEqual(bytes(other.image))
    const { image } = await varied({ variationStrength: 0.5 })
    expect(farShare(image, base.image)).toBeGreaterThan(0.5)
    expect(farShare(image, other.image)).toBeGreaterThan(0.5)
  })

  test("varies where a walk over a picture begins too", async () => {
    const { image: given } = await textToImage(model, quick)
    const [w, h] = [64, 64]
    const mask = pixels(w, h, 3, new Uint8Array(3 * w * h).fill(255, 0, 3 * w * 32))
    const verbs = [
      (options: PictureOptions) => imageToImage(model, { ...options, image: given.pixels, strength: 0.8 }),
      (options: PictureOptions) => inpaint(model, { ...options, image: given.pixels, mask }),
    ]
    for (const verb of verbs)
      for (const [variationStrength, seed] of [
        [0, 7],
        [1, 8],
      ]) {
        const options = { ...quick, scheduler: "ddim" }
        const { image } = await verb({ ...options, variationOf: 7, seed: 8, variationStrength })
        expect(bytes(image)).toEqual(bytes((await verb({ ...options, seed })).image))
      }
  })

  test("leaves what the scheduler adds to the seed that is varied", async () => {
    const scheduler = "euler-ancestral"
    const [base, other] = await Promise.all([7, 8].map((seed) => textToImage(model, { ...quick, seed })))
    expect(bytes((await varied({ scheduler, variationStrength: 0 })).image)).toEqual(bytes(base.image))
    expect(bytes((await varied({ scheduler, variationStrength: 1 })).image)).not.toEqual(bytes(other.image))
  })

  test("is drawn as it is alone among others, and again from its file", async () => {
    const { images } = await varied({ imagesPerPrompt: 2, seed: [8, 2n ** 64n - 1n], scheduler: "Euler a" })
    const text = images[1].text
    expect(text.parameters).toContain(
      "Seed: 7, Variation seed: 18446744073709551615, Variation seed strength: 0.2, Size",
    )
    const { options } = readPictureSettings(text)
    expect(options).toMatchObject({ seed: 2n ** 64n - 1n, variationOf: 7, variationStrength: 0.2 })
    const again = await textToImage(model, options)
    expect(farShare(again.image, images[1])).toBeLessThan(0.001)
    expect(again.image.text).toEqual(text)
  })
})

test("a denoise loop of one's own makes the same latents", async () => {
  const { latents } = await textToImage(model, { ...quick, guidanceScale: 4, scheduler: "euler" })
  const scheduler = schedulerFromConfig(model.schedulerConfig, "euler")
  scheduler.setTimesteps(2)
  const random = cpuGenerator(quick.seed)
  const noise = random.randn([1, 4, 8, 8])
  const start = { ...noise, data: noise.data.map((v) => v * scheduler.initNoiseSigma) }
  const [conditioning, negative] = await Promise.all([prompt, ""].map((text) => encodePrompt(model, text)))
  const walk = { latents: start, conditioning, negative, guidanceScale: 4, scheduler, random }
  const seen: number[] = []
  let last: Tensor = start
  for await (const step of denoise(model, walk)) {
    seen.push(step.step, step.steps)
    expect(step.predOriginalSample.shape).toEqual([1, 4, 8, 8])
    last = step.latents
  }
  expect(seen).toEqual([1, 2, 2, 2])
  expect(last).toEqual(latents)
})

describe("a picture's file", () => {
  test("holds the settings that make it again", async () => {
    const { image } = await textToImage(model, {
      ...quick,
      prompt: 'une carte, "café" 红心\n第二行',
      negativePrompt: "blurry",
      seed: 2n ** 63n + 1n,
      width: 72,
      clipSkip: 1,
    })
    const text = readPngText(image.toPng())
    expect(text.parameters).toBe(
      'une carte, "café" 红心\n第二行\nNegative prompt: blurry\nSteps: 2, Sampler: Euler a, CFG scale: 7.5, ' +
        "Seed: 9223372036854775809, Size: 72x64, Model: model, Clip skip: 2, Version: limn",
    )
    const settings = JSON.parse(text.limn)
    const again = await textToImage(model, { ...settings, seed: BigInt(settings.seed) })
    expect(again.image.toPng()).toEqual(image.toPng())
  })

  test("of a list of seeds tells its own", async () => {
    const { images } = await textToImage(model, { ...quick, prompt: ["one", "two"], seed: [4, 9] })
    const settings = JSON.parse(images[1].text.limn)
    expect(settings).toMatchObject({ prompt: "two", negativePrompt: "", seed: 9, imagesPerPrompt: 1 })
    expect(images[1].text.parameters).toContain("Seed: 9,")
  })

  test("is written whole, or not at all", async () => {
    const { image } = await textToImage(model, quick)
    const place = mkdtempSync(join(tmpdir(), "limn-picture-"))
    try {
      await image.save(join(place, "heart.png"))
      expect(decodePng(readFileSync(join(place, "heart.png")))).toEqual(image.pixels)
      await expect(image.save(join(place, "no/heart.png"))).rejects.toThrow(/Cannot write .*heart\.png/)
      expect(readdirSync(place)).toEqual(["heart.png"])
    } finally {
      rmSync(place, { recursive: true })
    }
  })
})

describe("stopping", () => {
  const reason = new Error("enough")

  test("before the start", async () => {
    await expect(textToImage(model, { ...quick, signal: AbortSignal.abort(reason) })).rejects.toBe(reason)
  })

  test("between steps", async () => {
    const stop = new AbortController()
    let steps = 0
    const drawing = textToImage(model, {
      ...quick,
      steps: 50,
      signal: stop.signal,
      onStep: ({ step }) => {
        steps = step
        if (step === 2) stop.abort(reason)
      },
    })
    await expect(drawing).rejects.toBe(reason)
    expect(steps).toBe(2)
    expect((await textToImage(model, quick)).images).toHaveLength(1)
  })

  test("by an error of onStep", async () => {
    const onStep = () => {
      throw reason
    }
    await expect(textToImage(model, { ...quick, onStep })).rejects.toBe(reason)
  })
})

test("the event loop stays free", async () => {
  let ticks = 0
  const timer = setInterval(() => ticks++, 1)
  let last = 0
  const between: number[] = []
  await textToImage(model, {
    ...quick,
    // Large enough that a step takes many ticks, however fast the machine.
    width: 160,
    height: 160,
    steps: 5,
    onStep: () => {
      between.push(ticks - last)
      last = ticks
    },
  })
  clearInterval(timer)
  expect(Math.min(...between)).toBeGreaterThan(0)
})

test("pictures of different sizes are drawn side by side", async () => {
  const sizes = [64, 72, 80].map((width) => ({ ...quick, width }))
  const together = await Promise.all(sizes.map((options) => textToImage(model, options)))
  for (const [i, options] of sizes.entries()) {
    const alone = await textToImage(model, options)
    expect(bytes(together[i].image)).toEqual(bytes(alone.image))
  }
})

test("half precision draws nearly the same", async () => {
  const half = await load(folder, { device: "cpu", precision: "fp16", threads: 1 })
  const options = { ...quick, guidanceScale: 1 }
  const [rough, exact] = await Promise.all([half, model].map((m) => textToImage(m, options)))
  await half.close()
  expect(rough.settings.precision).toBe("fp16")
  expect(relativeDifference(rough.latents, exact.latents)).toBeLessThan(0.05)
})

test("no end of a long prompt is left out", async () => {
  const long = `${"heart ".repeat(80)}and `
  const drawn = (end: string) => textToImage(model, { ...quick, prompt: `${long}${end}` })
  const [one, other] = await Promise.all([drawn("nothing"), drawn("all")])
  expect(one.warnings).toEqual([])
  expect(bytes(one.image)).not.toEqual(bytes(other.image))
})

test("timings and settings are in the result", async () => {
  const { timings, settings, seed } = await textToImage(model, { prompt, steps: 1, seed: 0 })
  expect(Object.keys(timings)).toEqual(["load", "encode", "denoise", "decode"])
  for (const ms of Object.values(timings)) expect(ms).toBeGreaterThanOrEqual(0)
  expect(seed).toBe(0)
  expect(settings).toMatchObject({
    model: "model",
    prompt: [prompt],
    negativePrompt: [""],
    width: 64,
    height: 64,
    guidanceScale: 7.5,
    noise: "cpu",
    device: "cpu",
    precision: "fp32",
    scheduler: { _class_name: "PNDMScheduler" },
  })
})

test("a closed model says so, after what it was doing", async () => {
  const closing = await load(folder, { device: "cpu", threads: 1 })
  const drawing = textToImage(closing, {
    ...quick,
    onStep: async ({ step }) => {
      if (step === 1) await closing.close()
    },
  })
  await expect(drawing).rejects.toThrow("The model is closed; load it again to use it.")
  await closing.close()
})

describe("options that cannot be", () => {
  const latents = cpuGenerator(0).randn([1, 4, 8, 9])
  test.each<[Partial<TextToImageOptions>, string]>([
    [{ prompt: [] }, "There is no prompt; give at least one."],
    [{ width: 100 }, "width is 100; give a positive multiple of 8."],
    [{ height: -8 }, "height is -8; give a positive multiple of 8."],
    [{ width: 0 }, "width is 0; give a positive multiple of 8."],
    [{ width: Number.NaN }, "width is NaN; give a positive multiple of 8."],
    [{ steps: 0 }, "steps is 0; give a whole number from 1 on."],
    [{ steps: 1.5 }, "steps is 1.5; give a whole number from 1 on."],
    [{ steps: 1001 }, "1001"],
    [{ imagesPerPrompt: 0 }, "imagesPerPrompt is 0; give a whole number from 1 on."],
    [{ clipSkip: 2 }, "clipSkip is 2; give a whole number from 0 to 1."],
    [{ guidanceScale: Number.POSITIVE_INFINITY }, "guidanceScale is Infinity; give a number, such as 7.5."],
    [{ guidanceRescale: 1.1 }, "guidanceRescale is 1.1; give a number from 0 to 1."],
    [{ eta: -1 }, "eta is -1; give a number from 0 to 1."],
    [{ seed: -1 }, "Seed -1 is outside 0 to 18446744073709551615; choose one inside."],
    [{ seed: 0.5 }, "Seed 0.5 is not an exact integer"],
    [{ seed: [1, 2] }, "2 seeds do not fit 1 pictures; give one, or one for each."],
    [{ negativePrompt: ["a", "b"] }, "2 negative prompts do not fit 1 prompts; give one, or one for each."],
    [{ scheduler: "euler b" }, 'limn has no scheduler "euler b"; choose one of'],
    [{ scheduler: "flow-match-euler" }, "walks rectified flow, but this model was trained on a schedule"],
    [
      { scheduler: "edm-euler" },
      "walks EDM's noise levels, but this model was trained on a schedule of betas",
    ],
    [{ variationOf: -1 }, "Seed -1 is outside 0 to 18446744073709551615; choose one inside."],
    [{ variationOf: 1, variationStrength: 2 }, "variationStrength is 2; give a number from 0 to 1."],
    [
      { variationStrength: 0.1 },
      "variationStrength says how far to vary a seed's pictures; give that, as variationOf.",
    ],
    [
      { latents, variationOf: 1 },
      "latents are given in place of a seed's noise; leave them or variationOf away.",
    ],
    [{ latents }, "latents are [1, 4, 8, 9]; these pictures need [1, 4, 8, 8]."],
  ])("%o", async (options, message) => {
    const drawing = textToImage(model, { ...quick, ...options })
    await expect(drawing).rejects.toThrow(UsageError)
    await expect(drawing).rejects.toThrow(message)
  })
})
