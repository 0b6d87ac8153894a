import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { UsageError } from "../../src/ground/errors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { controlNet } from "../../src/pipelines/controlnet.ts"
import { load } from "../../src/pipelines/load.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { readPictureSettings } from "../../src/pipelines/picture-settings.ts"
import type { TextToImageOptions } from "../../src/pipelines/text-to-image.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { cosineOf, goldenFolder } from "../unit/golden.ts"
import { control, drawing } from "./interval-drawing.ts"

const models = new Map<string, Model>()
beforeAll(async () => {
  const sd = await load(join(goldenFolder, "pipeline/model"), { device: "cpu", threads: 1 })
  models.set("SD", sd)
  models.set("SD with a ControlNet", await sd.with(controlNet(join(goldenFolder, "controlnet/sd1"))))
  models.set("SDXL", await load(join(goldenFolder, "pipeline-xl/model"), { device: "cpu", threads: 1 }))
})
afterAll(async () => {
  for (const model of [...models.values()].reverse()) await model.close()
})

/** The latents after each step. */
async function steps(by: string, more: Partial<TextToImageOptions> = {}): Promise<Tensor<"float32">[]> {
  const latents: Tensor<"float32">[] = []
  const controls = by.endsWith("ControlNet") ? [control] : undefined
  await textToImage(models.get(by)!, {
    ...drawing,
    controls,
    ...more,
    onStep: (step) => void latents.push(step.latents),
  })
  return latents
}

describe.each(["SD", "SD with a ControlNet", "SDXL"])(
  "a denoiser of %s that runs whole now and then",
  (by) => {
    it("says around what its inner layers made just what it says whole", async () => {
      const model = models.get(by)!
      const { inChannels, crossAttentionDim, additionEmbed } = model.unetConfig
      const random = cpuGenerator(3)
      const feeds = {
        sample: random.randn([2, inChannels, 3, 5]),
        timestep: float32([2], [500, 20]),
        encoderHiddenStates: random.randn([2, 77, crossAttentionDim[0]]),
        ...(additionEmbed?.type === "text_time" && {
          textEmbeds: random.randn([2, additionEmbed.inputDim - 6 * additionEmbed.timeDim]),
          timeIds: float32([2, 6], [24, 40, 0, 0, 24, 40, 24, 40, 8, 0, 24, 40]),
        }),
      }
      const whole = await model.unet.run(feeds)
      const { deep } = whole
      const shallow = await model.unet.open({ ...feeds, deep })
      const given = Object.entries({ ...feeds, deep }).filter(([name]) => shallow.reads.has(name))
      const { output } = await shallow.run(Object.fromEntries(given))
      shallow.release()
      expect(output.shape).toEqual(whole.output.shape)
      expect(1 - cosineOf(output, whole.output)).toBeLessThan(1e-10)
    })

    it("walks as one that always does until the first step between, and nearly so after", async () => {
      const [cached, always] = [await steps(by, { cacheInterval: 3 }), await steps(by)]
      expect(cached[0].data).toEqual(always[0].data)
      expect(cached[1].data).not.toEqual(always[1].data)
      expect(cosineOf(cached.at(-1)!, always.at(-1)!)).toBeGreaterThan(0.98)
    })

    it("is the same with an interval of 1", async () => {
      const [one, always] = [await steps(by, { cacheInterval: 1 }), await steps(by)]
      expect(one.at(-1)!.data).toEqual(always.at(-1)!.data)
    })

    it("goes together with guidance in part of the steps", async () => {
      const more = { guidanceInterval: [0.3, 0.9], cacheInterval: 2 } as const
      const [cached, always] = [await steps(by, more), await steps(by, { guidanceInterval: [0.3, 0.9] })]
      expect(cosineOf(cached.at(-1)!, always.at(-1)!)).toBeGreaterThan(0.98)
    })
  },
)

it("is told in the picture's file, to be drawn again", async () => {
  const order = { ...drawing, prompt: "an ink pot" }
  const first = await textToImage(models.get("SD")!, { ...order, cacheInterval: 3 })
  const { options } = readPictureSettings(first.image.text)
  expect(options.cacheInterval).toBe(3)
  const again = await textToImage(models.get("SD")!, { ...options, prompt: "an ink pot" })
  expect(again.image.pixels.data).toEqual(first.image.pixels.data)
})

it.each([0, -1, 1.5, "2"])("%j is no interval", async (cacheInterval) => {
  const options = { ...drawing, cacheInterval } as unknown as TextToImageOptions
  const refused = textToImage(models.get("SD")!, options)
  await expect(refused).rejects.toThrow(UsageError)
  await expect(refused).rejects.toThrow(/cacheInterval/)
})
