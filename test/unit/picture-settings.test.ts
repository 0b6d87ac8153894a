import { describe, expect, test } from "vitest"
import { FormatError } from "../../src/ground/errors.ts"
import { readPictureSettings } from "../../src/pipelines/picture-settings.ts"

const parameters = (text: string) => readPictureSettings({ parameters: text })

test("limn's own JSON comes back, seeds above 2^53 whole", () => {
  const limn = JSON.stringify({
    model: "inkling",
    prompt: "a red heart",
    negativePrompt: "",
    seed: "18446744073709551615",
    steps: 20,
    device: "cpu",
    precision: "fp32",
    picture: 2,
  })
  expect(readPictureSettings({ limn, parameters: "x\nSteps: 1" })).toEqual({
    model: "inkling",
    options: { prompt: "a red heart", negativePrompt: "", seed: 2n ** 64n - 1n, steps: 20 },
    embeddings: [],
    picture: 2,
    warnings: [],
  })
})

describe("A1111's parameters", () => {
  test("are read with their prompt's own lines, commas and colons", () => {
    const text =
      'masterpiece, (a cat:1.2)\nsecond line, Size: large\nNegative prompt: blurry, bad: yes\nSteps: 28, Sampler: DPM++ 2M, Schedule type: Karras, CFG scale: 6.5, Seed: 123456789, Size: 512x768, Model hash: abc, Model: v1-4, Clip skip: 2, Lora hashes: "a: 1, b: 2", TI hashes: "EasyNegative: c7, bad-hands-5: aa", Version: v1.9.0'
    expect(parameters(text)).toEqual({
      model: "v1-4",
      options: {
        prompt: "masterpiece, (a cat:1.2)\nsecond line, Size: large",
        negativePrompt: "blurry, bad: yes",
        promptSyntax: "weighted",
        steps: 28,
        guidanceScale: 6.5,
        seed: 123456789,
        width: 512,
        height: 768,
        scheduler: "DPM++ 2M Karras",
        clipSkip: 1,
        noise: "cuda",
      },
      embeddings: ["EasyNegative", "bad-hands-5"],
      picture: 0,
      warnings: [],
    })
  })

  test("name LoRAs in the prompt, which ends without them", () => {
    const text =
      "a <b> boat <lora:ink wash_v2:0.65>, <lora:x>on water <lora:y:-1:0.5>\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1"
    expect(parameters(text)).toMatchObject({
      options: { prompt: "a <b> boat,on water" },
      loras: [
        { name: "ink wash_v2", scale: 0.65 },
        { name: "x", scale: 1 },
        { name: "y", scale: -1 },
      ],
    })
  })

  test("know the old way to name a spacing, a picture that was drawn over, and the CPU's noise", () => {
    const { options } = parameters(
      "a boat\nSteps: 20, Sampler: DPM++ 2M Karras, CFG scale: 7, Seed: 1, Size: 512x512, Denoising strength: 0.6, RNG: CPU",
    )
    expect(options).toMatchObject({
      scheduler: "DPM++ 2M Karras",
      strength: 0.6,
      noise: "cpu",
      negativePrompt: "",
    })
  })

  test("know a variation, whose own seed is the variation seed", () => {
    const text =
      "a boat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Variation seed: 2, Variation seed strength: 0.3"
    expect(parameters(text).options).toMatchObject({ variationOf: 1, seed: 2, variationStrength: 0.3 })
  })

  test.each([
    ["Hires steps: 10, Hires upscaler: Lanczos", 0.7, 15, []],
    ["Hires steps: 29, Hires upscaler: Lanczos", 0.29, 101, []],
    ["Hires steps: 0", 0.5, 40, []],
    ["Hires upscaler: Latent", 0.5, 40, ['limn enlarges pictures by Lanczos\' filter, not by "Latent".']],
  ])("know a second stage, %s at %f", (facts, strength, upscaleSteps, said) => {
    const { options, warnings } = parameters(
      `a boat\nSteps: 20, Sampler: Euler, CFG scale: 7, Seed: 1, Denoising strength: ${strength}, Hires upscale: 1.5, ${facts}`,
    )
    expect(options).toMatchObject({ upscale: 1.5, upscaleStrength: strength, upscaleSteps })
    expect(options.strength).toBeUndefined()
    expect(warnings).toEqual(said)
  })

  test("may have no prompt at all, and a sampler that limn lacks", () => {
    const { options, warnings } = parameters(
      "Steps: 20, Sampler: Restart, CFG scale: 7, Seed: 1, Size: 64x64",
    )
    expect(options).toMatchObject({ prompt: "", steps: 20 })
    expect(options.scheduler).toBeUndefined()
    expect(warnings).toEqual(['limn has no sampler "Restart": the model\'s own is used.'])
  })
})

describe("ComfyUI's graph", () => {
  const graph = {
    3: {
      class_type: "KSampler",
      inputs: {
        seed: 42,
        steps: 25,
        cfg: 8,
        sampler_name: "dpmpp_2m",
        scheduler: "karras",
        denoise: 1,
        model: ["4", 0],
        positive: ["6", 0],
        negative: ["7", 0],
        latent_image: ["5", 0],
      },
    },
    4: { class_type: "CheckpointLoaderSimple", inputs: { ckpt_name: "v1-5.safetensors" } },
    5: { class_type: "EmptyLatentImage", inputs: { width: 512, height: 640, batch_size: 1 } },
    6: { class_type: "CLIPTextEncode", inputs: { text: "a lighthouse", clip: ["4", 1] } },
    7: { class_type: "CLIPTextEncode", inputs: { text: "fog", clip: ["4", 1] } },
  }

  test("is followed from its sampler", () => {
    expect(readPictureSettings({ prompt: JSON.stringify(graph) })).toEqual({
      model: "v1-5.safetensors",
      options: {
        prompt: "a lighthouse",
        negativePrompt: "fog",
        promptSyntax: "weighted",
        steps: 25,
        guidanceScale: 8,
        seed: 42,
        width: 512,
        height: 640,
        scheduler: "DPM++ 2M Karras",
        noise: "cpu",
      },
      embeddings: [],
      picture: 0,
      warnings: [],
    })
  })

  test("with several samplers is refused", () => {
    const two = { ...graph, 9: graph[3] }
    expect(() => readPictureSettings({ prompt: JSON.stringify(two) }, "x.png")).toThrow(
      "x.png was made by a ComfyUI graph with 2 samplers",
    )
  })
})

test.each([
  [{}, "x.png does not say how it was made"],
  [{ Comment: "hello" }, "x.png does not say how it was made"],
  [{ limn: "{" }, 'under "limn" are not what limn can read'],
  [{ limn: '{"prompt":"a","seed":1,"embeddings":3}' }, 'under "limn" are not'],
  [{ limn: '{"prompt":"a","seed":1,"ipAdapters":3}' }, 'under "limn" are not'],
  [{ limn: "3" }, 'under "limn" are not'],
  [{ parameters: "a cat" }, 'under "parameters" are not'],
  [{ parameters: "a cat\nSteps: 5, Seed: -1" }, "its seed is -1, which is none"],
  [{ prompt: "[]" }, 'under "prompt" are not'],
  [{ prompt: '{"1": null}' }, "with 0 samplers"],
])("texts %j are refused in one sentence", (text, message) => {
  expect(() => readPictureSettings(text, "x.png")).toThrow(FormatError)
  expect(() => readPictureSettings(text, "x.png")).toThrow(message)
})

test("no text makes it fail otherwise", () => {
  const pieces = [
    "Steps: ",
    "Negative prompt:",
    "\n",
    ",",
    '"',
    "Size: ",
    "x",
    "7",
    "{",
    "[",
    ":",
    "a",
    "\\",
    "Seed: 1",
  ]
  let state = 7
  const next = (n: number) => (state = (state * 1103515245 + 12345) % 2 ** 31) % n
  for (let round = 0; round < 3000; round++) {
    const text = Array.from({ length: next(30) }, () => pieces[next(pieces.length)]).join("")
    for (const keyword of ["limn", "parameters", "prompt"])
      try {
        readPictureSettings({ [keyword]: text })
      } catch (error) {
        if (!(error instanceof FormatError)) throw error
      }
  }
})
