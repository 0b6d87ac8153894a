import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { load, textToImage } from "../../src/index.ts"
import { inOneFile, tinyModel, writeFolder } from "../unit/tiny-stable-diffusion.ts"
import { torchCheckpoint } from "../unit/torch-writer.ts"

let folder: string
let expected: Uint8Array

/** What a model draws, each with the scheduler that it comes with. */
async function draw(path: string): Promise<Uint8Array> {
  const model = await load(path, { device: "cpu", threads: 1 })
  try {
    const prompt = "A photo of an astronaut, café <|endoftext|>!"
    const { image } = await textToImage(model, { prompt, steps: 3, seed: 5, width: 64, height: 64 })
    return image.pixels.data
  } finally {
    await model.close()
  }
}

const model = tinyModel(2)
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "limn-same-"))
  writeFolder(join(folder, "folder"), model)
  expected = await draw(join(folder, "folder"))
})
afterAll(() => rmSync(folder, { recursive: true }))

describe("the same weights draw the same picture, bit for bit, from", () => {
  test("a folder, and it is a picture", () => {
    expect(new Set(expected).size).toBeGreaterThan(50)
  })
  test("one safetensors file", async () => {
    writeFileSync(join(folder, "model.safetensors"), Buffer.concat(encodeSafetensors(inOneFile(model))))
    expect(await draw(join(folder, "model.safetensors"))).toEqual(expected)
  })
  // At odd places too: the older form of PyTorch's files aligns nothing.
  test.each([64, 1])("one .ckpt whose tensors begin at multiples of %i", async (align) => {
    const path = join(folder, `model-${align}.ckpt`)
    writeFileSync(path, torchCheckpoint(inOneFile(model), { align }))
    expect(await draw(path)).toEqual(expected)
  })
  test("a folder of .bin files", async () => {
    mkdirSync(join(folder, "bin"))
    writeFolder(join(folder, "bin"), model, { ending: "bin", encode: (tensors) => torchCheckpoint(tensors) })
    expect(await draw(join(folder, "bin"))).toEqual(expected)
  })
})
