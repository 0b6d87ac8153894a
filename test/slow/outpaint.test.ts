import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { UsageError } from "../../src/ground/errors.ts"
import { extendImage } from "../../src/ground/extend.ts"
import type { Pixels } from "../../src/ground/image.ts"
import { pixels } from "../../src/ground/image.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { controlNet } from "../../src/pipelines/controlnet.ts"
import { inpaint } from "../../src/pipelines/inpaint.ts"
import { ipAdapter } from "../../src/pipelines/ip-adapter.ts"
import { load } from "../../src/pipelines/load.ts"
import { lora } from "../../src/pipelines/lora.ts"
import type { Model } from "../../src/pipelines/model.ts"
import type { OutpaintOptions } from "../../src/pipelines/outpaint.ts"
import { outpaint } from "../../src/pipelines/outpaint.ts"
import { readPictureSettings } from "../../src/pipelines/picture-settings.ts"
import { grid } from "../../src/recipes/grid.ts"
import { goldenFolder } from "../unit/golden.ts"
import { checkedModel } from "./checked-model.ts"

const nine = mkdtempSync(join(tmpdir(), "limn-nine-"))
cpSync(join(goldenFolder, "pipeline/model"), nine, { recursive: true })
rmSync(join(nine, "unet"), { recursive: true })
cpSync(join(goldenFolder, "given-pictures/unet-nine"), join(nine, "unet"), { recursive: true })
afterAll(() => rmSync(nine, { recursive: true }))

const opened = (folder: string) => load(folder, { device: "cpu", threads: 1 })
let model: Model
beforeAll(async () => {
  model = await opened(join(goldenFolder, "pipeline/model"))
}, 60_000)
afterAll(() => model.close())

/** A picture of chance. */
function chance(width: number, height: number): Pixels {
  const { data } = cpuGenerator(1).rand([3 * width * height])
  return pixels(
    width,
    height,
    3,
    Uint8Array.from(data, (v) => 255 * v),
  )
}
const picture = chance(50, 37)
const options = { prompt: "a beach", steps: 3, seed: 5, image: picture, extend: { left: 13, bottom: 21 } }

/** Of a result's pixels as far inside the picture as can be told, how many are the picture's own. */
function keptShare(
  { extend: { left = 0, top = 0 }, image }: OutpaintOptions,
  result: Pixels,
  from: number,
  to: number,
) {
  let [kept, count] = [0, 0]
  for (let y = 0; y < image.height; y++)
    for (let x = 0; x < image.width; x++) {
      // The left and the lower side are drawn on.
      const depth = Math.min(x, image.height - 1 - y)
      if (depth < from || depth >= to) continue
      const [own, now] = [3 * (y * image.width + x), 3 * ((y + top) * result.width + x + left)]
      count++
      if ([0, 1, 2].every((c) => image.data[own + c] === result.data[now + c])) kept++
    }
  return kept / count
}

describe.each([
  ["pipeline/model", join(goldenFolder, "pipeline/model")],
  ["nine channels", nine],
  ["pipeline-xl/model", join(goldenFolder, "pipeline-xl/model")],
  ["pipeline-kolors/model", join(goldenFolder, "pipeline-kolors/model")],
])("a picture is drawn around, %s", (_, folder) => {
  test("in just the size asked for, its own pixels kept but those in the overlap", async () => {
    const own = await opened(folder)
    try {
      const { image, settings, latents } = await outpaint(own, { ...options, overlap: 10 })
      expect(image.pixels).toMatchObject({ width: 63, height: 58, channels: 3 })
      expect(latents.shape.slice(2)).toEqual([8, 8])
      expect(keptShare(options, image.pixels, 10, 99)).toBe(1)
      expect(keptShare(options, image.pixels, 0, 5)).toBeLessThan(0.2)
      const extend = { left: 13, top: 0, right: 0, bottom: 21 }
      const strength = folder === nine ? 1 : 0.9
      expect(settings).toMatchObject({ width: 63, height: 58, extend, overlap: 10, strength })
    } finally {
      await own.close()
    }
  })
})

test("without an overlap every pixel is kept", async () => {
  const { image } = await outpaint(model, { ...options, overlap: 0 })
  expect(keptShare(options, image.pixels, 0, 99)).toBe(1)
})

test("what is new is what inpainting gives, and fades into the picture", async () => {
  const image = chance(40, 48)
  const { image: drawn } = await outpaint(model, { ...options, image, extend: { right: 24 }, overlap: 16 })
  const whole = extendImage(image, { left: 0, top: 0, right: 24, bottom: 0 })
  // A latent is drawn anew where any of it is new or less than 8 pixels deep: from 40 - 8 on.
  const white = (i: number) => (Math.floor(i / 3) % 64 >= 32 ? 255 : 0)
  const mask = pixels(
    64,
    48,
    3,
    Uint8Array.from({ length: 3 * 64 * 48 }, (_, i) => white(i)),
  )
  const size = { width: 64, height: 48 }
  const into = await inpaint(model, { ...options, ...size, image: whole, mask, strength: 0.9 })
  const expected = into.image.pixels.data.map((value, i) => {
    const depth = 39 - (Math.floor(i / 3) % 64)
    const share = Math.min(1, Math.max(0, (16 - depth) / 17))
    return Math.round((1 - share) * whole.data[i] + share * value)
  })
  expect(drawn.pixels.data).toEqual(expected)
})

test("several pictures come out as each alone, and again from their files", async () => {
  const several = {
    ...options,
    prompt: ["a beach", "a wood"],
    seed: [1, 2],
    scheduler: "Euler a",
    variationOf: 9,
  }
  const { images } = await outpaint(model, several)
  for (const { pixels, text } of images) {
    const { options: read } = readPictureSettings(text)
    const { image } = await outpaint(model, { ...read, image: picture, extend: read.extend! })
    const far = pixels.data.filter((v, i) => Math.abs(v - image.pixels.data[i]) > 1)
    expect(far.length / pixels.data.length).toBeLessThan(0.001)
    expect(image.text).toEqual(text)
  }
})

test("a LoRA, a ControlNet and an IP-Adapter have their say", async () => {
  const dressed = await model.with(
    lora(join(goldenFolder, "lora/ink.safetensors")),
    controlNet(join(goldenFolder, "controlnet/sd1")),
    ipAdapter(join(goldenFolder, "ip-adapter/whole.safetensors")),
  )
  try {
    const drawn = await outpaint(dressed, {
      ...options,
      controls: [{ image: chance(63, 58) }],
      ipImages: [picture],
    })
    expect(keptShare(options, drawn.image.pixels, 16, 99)).toBe(1)
    expect(drawn.image.pixels.data).not.toEqual((await outpaint(model, options)).image.pixels.data)
    expect(drawn.settings).toMatchObject({ loras: [{ name: "ink" }], controls: [{ name: "sd1" }] })
  } finally {
    await dressed.close()
  }
})

test("a grid is drawn around a picture too", async () => {
  const { cells } = await grid(model, { ...options, x: { setting: "strength", values: [0.6, 1] } })
  for (const [i, strength] of [0.6, 1].entries())
    expect(cells[0][i].image.pixels).toEqual((await outpaint(model, { ...options, strength })).image.pixels)
})

test("what the safety checker withholds stays black, the given picture too", async () => {
  const { folder, given, remove } = checkedModel()
  const model = await opened(folder)
  try {
    const { width: _, height: __, ...rest } = given
    const drawn = await outpaint(model, {
      ...rest,
      imagesPerPrompt: 4,
      image: picture,
      extend: options.extend,
    })
    for (const [i, { pixels }] of drawn.images.entries()) {
      expect(pixels).toMatchObject({ width: 63, height: 58 })
      expect(pixels.data.every((v) => v === 0)).toBe(drawn.withheld[i])
    }
  } finally {
    await model.close()
    remove()
  }
})

test.each<[Partial<OutpaintOptions>, string]>([
  [{ extend: {} }, "There is nothing to draw around the picture; extend it on at least one side."],
  [{ extend: { left: -1 } }, "left is -1; give a whole number of pixels from 0 on."],
  [{ extend: { top: 1.5 } }, "top is 1.5; give a whole number of pixels from 0 on."],
  [{ overlap: -2 }, "overlap is -2; give a whole number of pixels from 0 on."],
  [{ strength: 2 }, "strength is 2; give a number from 0 to 1."],
])("%o cannot be", async (wrong, message) => {
  const drawing = outpaint(model, { ...options, ...wrong })
  await expect(drawing).rejects.toThrow(UsageError)
  await expect(drawing).rejects.toThrow(message)
})
