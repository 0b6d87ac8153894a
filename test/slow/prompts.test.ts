import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Model, PictureOptions } from "../../src/index.ts"
import {
  cpuGenerator,
  denoise,
  encodePrompt,
  load,
  schedulerFromConfig,
  textToImage,
  withTextualInversion,
} from "../../src/index.ts"
import { encodeNegative } from "../../src/pipelines/prompts.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "../unit/golden.ts"

const golden = goldenTensors("prompts/states.safetensors")
const cases = goldenJson<{ name: string; model: string; prompt: string }[]>("prompts/cases.json")
const models = new Map<string, Model>()
beforeAll(async () => {
  for (const name of ["pipeline", "pipeline-xl"])
    models.set(name, await load(join(goldenFolder, name, "model"), { device: "cpu", threads: 1 }))
})
afterAll(() => Promise.all([...models.values()].map((model) => model.close())))

describe("states of transformers, cut and weighed as the web UI does", () => {
  test.each(cases)("$name", async ({ name, model, prompt }) => {
    const { encoderHiddenStates, textEmbeds } = await encodePrompt(models.get(model)!, prompt, {
      promptSyntax: "weighted",
    })
    expect(relativeDifference(encoderHiddenStates, golden[name])).toBeLessThan(1e-5)
    const pooled = golden[`${name}.pooled`]
    if (pooled) expect(relativeDifference(textEmbeds, pooled)).toBeLessThan(1e-5)
    else expect(textEmbeds).toBeUndefined()
  })

  test("fewer chunks are filled up with empty ones, and zeros with zeros", async () => {
    const xl = models.get("pipeline-xl")!
    const [short, empty, long] = await Promise.all([
      encodePrompt(xl, "a cat"),
      encodePrompt(xl, ""),
      encodePrompt(xl, "a cat", { chunks: 2 }),
    ])
    const joined = [...short.encoderHiddenStates.data, ...empty.encoderHiddenStates.data]
    expect(long.encoderHiddenStates.shape).toEqual([1, 154, 40])
    expect([...long.encoderHiddenStates.data]).toEqual(joined)
    expect(long.textEmbeds).toEqual(short.textEmbeds)
    const negative = await encodeNegative(xl, "", { chunks: 2 })
    expect(negative.encoderHiddenStates.shape).toEqual([1, 154, 40])
    expect(negative.encoderHiddenStates.data.every((value) => value === 0)).toBe(true)
  })
})

test("a walk refuses a negative prompt of another length", async () => {
  const model = models.get("pipeline")!
  const [conditioning, negative] = await Promise.all([
    encodePrompt(model, "a cat", { chunks: 2 }),
    encodePrompt(model, ""),
  ])
  const scheduler = schedulerFromConfig(model.schedulerConfig)
  scheduler.setTimesteps(1)
  const random = cpuGenerator(1)
  const latents = random.randn([1, 4, 8, 8])
  const walk = denoise(model, { latents, conditioning, negative, guidanceScale: 2, scheduler, random })
  await expect(walk.next()).rejects.toThrow(
    "encoderHiddenStates is [1, 154, 24] for the prompts and [1, 77, 24] for the negative ones; encode both with as many chunks.",
  )
})

describe("pictures", () => {
  const quick = { steps: 2, seed: 3, scheduler: "ddim" } satisfies Omit<PictureOptions, "prompt">
  const drawn = (prompt: string | string[], options: Partial<PictureOptions> = {}) =>
    textToImage(models.get("pipeline")!, { ...quick, prompt, ...options })

  test("of a long and a short prompt are drawn together", async () => {
    const long = `${"two boats, ".repeat(40)}at dawn`
    const { images, warnings } = await drawn([long, "a cat"], { negativePrompt: "fog" })
    expect(images).toHaveLength(2)
    expect(warnings).toEqual([])
  })

  test("weigh words only where asked to", async () => {
    const prompt = "a (red:1.5) boat"
    const [plain, escaped, weighted] = [
      await drawn(prompt),
      await drawn("a \\(red:1.5\\) boat", { promptSyntax: "weighted" }),
      await drawn(prompt, { promptSyntax: "weighted" }),
    ]
    expect(escaped.latents).toEqual(plain.latents)
    expect(weighted.latents).not.toEqual(plain.latents)
    expect([plain, escaped, weighted].map(({ warnings }) => warnings.length)).toEqual([1, 0, 0])
    // Web tools weigh, so that they are given what they read alike.
    expect(plain.image.text.parameters).toBe(escaped.image.text.parameters)
    await expect(drawn("a cat", { promptSyntax: "loud" as "plain" })).rejects.toThrow(
      'promptSyntax is "loud"; choose "plain" or "weighted".',
    )
  })
})

describe("textual inversion against diffusers' load_textual_inversion", () => {
  const learnt = goldenTensors("prompts/learnt.safetensors")
  const word = (name: string) => join(goldenFolder, "prompts", name)

  test("draws the same picture with two words", async () => {
    const base = models.get("pipeline")!
    const one = await withTextualInversion(base, word("cat-toy.bin"))
    const model = await withTextualInversion(one, word("ink-style.pt"))
    const options = goldenJson<PictureOptions & { prompt: string }>("prompts/learnt.json")
    const { encoderHiddenStates } = await encodePrompt(model, options.prompt)
    expect(relativeDifference(encoderHiddenStates, learnt.prompt_embeds)).toBeLessThan(1e-5)
    const { image } = await textToImage(model, options)
    const expected = learnt.images.data
    const near = Array.from(image.pixels.data).filter(
      (value, i) => Math.abs(value - Number(expected[i])) <= 1,
    )
    expect(near.length / expected.length).toBeGreaterThanOrEqual(0.999)
    expect((await encodePrompt(base, options.prompt)).encoderHiddenStates).not.toEqual(encoderHiddenStates)
    await one.close()
    await model.close()
    expect((await textToImage(base, { prompt: "a cat", steps: 1 })).images).toHaveLength(1)
  })

  test("reads words in half precision too", async () => {
    const model = await load(join(goldenFolder, "pipeline/model"), { device: "cpu", precision: "fp16" })
    const half = await withTextualInversion(
      await withTextualInversion(model, word("cat-toy.bin")),
      word("ink-style.pt"),
    )
    const { prompt } = goldenJson<{ prompt: string }>("prompts/learnt.json")
    const { encoderHiddenStates } = await encodePrompt(half, prompt)
    expect(relativeDifference(encoderHiddenStates, learnt.prompt_embeds)).toBeLessThan(0.01)
    await half.close()
    await model.close()
  })

  test("reads SDXL's two vectors of each word, and finds the end of the text behind it", async () => {
    const model = await withTextualInversion(models.get("pipeline-xl")!, word("xl-word.safetensors"))
    const { encoderHiddenStates, textEmbeds } = await encodePrompt(model, "a boat, XL-word, at dawn")
    expect(relativeDifference(encoderHiddenStates, learnt.xl_embeds)).toBeLessThan(1e-5)
    expect(relativeDifference(textEmbeds, learnt.xl_pooled)).toBeLessThan(1e-5)
    await model.close()
  })
})
