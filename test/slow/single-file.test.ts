import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { pixels } from "../../src/ground/image.ts"
import { inpaint, load, textToImage } from "../../src/index.ts"
import type { WholeModel } from "../unit/tiny-stable-diffusion.ts"
import {
  inOneFile,
  rounded,
  tinyInpainting,
  tinyModel,
  tinyStableDiffusionXl,
  writeFolder,
} from "../unit/tiny-stable-diffusion.ts"
import { torchCheckpoint } from "../unit/torch-writer.ts"

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "limn-same-"))
})
afterAll(() => rmSync(folder, { recursive: true }))

const options = {
  prompt: "A photo of an astronaut, café <|endoftext|>!",
  steps: 3,
  seed: 5,
  width: 64,
  height: 64,
} as const

/** What a model draws, each with the scheduler that it comes with; into a mask where it is made for that. */
async function draw(path: string): Promise<Uint8Array> {
  const model = await load(path, { device: "cpu", threads: 1 })
  try {
    const bytes = Uint8Array.from({ length: 64 * 64 * 3 }, (_, i) => (i * i) % 256)
    const image = pixels(64, 64, 3, bytes)
    const mask = pixels(64, 64, 3, bytes.slice().reverse())
    const drawn =
      model.unetConfig.inChannels === 9
        ? await inpaint(model, { ...options, image, mask })
        : await textToImage(model, options)
    return drawn.image.pixels.data
  } finally {
    await model.close()
  }
}

let folders = 0

/** What it draws from a folder in diffusers' layout. */
async function drawFolder(
  model: WholeModel,
  written?: Parameters<typeof writeFolder>[2],
): Promise<Uint8Array> {
  const path = join(folder, `folder-${folders++}`)
  writeFolder(path, model, written)
  const drawn = await draw(path)
  expect(new Set(drawn).size).toBeGreaterThan(50)
  return drawn
}

/** What it draws from a file of this name. */
async function drawFile(model: WholeModel, name: string): Promise<Uint8Array> {
  const path = join(folder, name)
  writeFileSync(path, Buffer.concat(encodeSafetensors(inOneFile(model))))
  return draw(path)
}

describe("the same weights draw the same picture, bit for bit, from a folder and from", () => {
  const model = tinyModel(2)
  let expected: Uint8Array
  beforeAll(async () => {
    expected = await drawFolder(model)
  }, 60_000)
  test("one safetensors file", async () => {
    expect(await drawFile(model, "model.safetensors")).toEqual(expected)
  })
  // At odd places too: the older form of PyTorch's files aligns nothing.
  test.each([64, 1])("one .ckpt whose tensors begin at multiples of %i", async (align) => {
    const path = join(folder, `model-${align}.ckpt`)
    writeFileSync(path, torchCheckpoint(inOneFile(model), { align }))
    expect(await draw(path)).toEqual(expected)
  })
  test("a folder of .bin files", async () => {
    const encode = (tensors: Parameters<typeof torchCheckpoint>[0]) => [torchCheckpoint(tensors)]
    expect(await drawFolder(model, { ending: "bin", encode })).toEqual(expected)
  })
})

describe("so it is with", () => {
  test.each(["float16", "bfloat16"] as const)("Stable Diffusion 1.x in %s", async (dtype) => {
    const half = rounded(tinyModel(3), dtype)
    expect(await drawFile(half, `${dtype}.safetensors`)).toEqual(await drawFolder(half))
  })
  test("Stable Diffusion 1.x for inpainting", async () => {
    const model = tinyModel(4, tinyInpainting)
    expect(await drawFile(model, "inpainting.safetensors")).toEqual(await drawFolder(model))
  })
  test.each([
    ["float32", (model: WholeModel) => model],
    ["float16", (model: WholeModel) => rounded(model, "float16")],
  ])("Stable Diffusion XL in %s", async (dtype, stored) => {
    const model = stored(tinyModel(5, tinyStableDiffusionXl))
    expect(await drawFile(model, `xl-${dtype}.safetensors`)).toEqual(await drawFolder(model))
  })
  test("SDXL-Turbo, which its name tells", async () => {
    const scheduler = {
      ...tinyStableDiffusionXl.scheduler,
      _class_name: "EulerAncestralDiscreteScheduler",
      timestep_spacing: "trailing",
    }
    const model = tinyModel(6, { ...tinyStableDiffusionXl, scheduler })
    expect(await drawFile(model, "xl_turbo.safetensors")).not.toEqual(await drawFile(model, "xl.safetensors"))
    expect(await drawFile(model, "xl_turbo.safetensors")).toEqual(await drawFolderOfTurbo(model))
  })
})

/** Turbo needs no guidance, which its folder's scheduler and name tell. */
async function drawFolderOfTurbo(model: WholeModel): Promise<Uint8Array> {
  const path = join(folder, "turbo")
  writeFolder(path, model)
  return draw(path)
}
