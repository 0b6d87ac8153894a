import { join } from "node:path"
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest"
import { LimnError } from "../../src/ground/errors.ts"
import { chatGlmConfig } from "../../src/models/config/chatglm.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { chatGlmParameters } from "../../src/models/parameters/chatglm.ts"
import { BLOCK_BYTES, layerBlocks, layerBytes, readingBytes } from "../../src/pipelines/chatglm-blocks.ts"
import { load } from "../../src/pipelines/load.ts"
import { checkMemory, needsLowMemory } from "../../src/pipelines/memory-check.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder } from "./golden.ts"
import { chatglm3, kolorsUnet } from "./published-configs.ts"

const bytes = layerBytes(chatGlmParameters(chatGlmConfig(chatglm3, "chatglm3")))

describe("the published ChatGLM", () => {
  test.each([
    ["float32", 1, 28],
    ["int8", 1, 28],
    ["int4", 2, 14],
  ] as const)("in %s runs in blocks of %i", (kept, each, count) => {
    const blocks = layerBlocks(28, bytes[kept], BLOCK_BYTES)
    expect(blocks).toHaveLength(count)
    expect(blocks[0]).toEqual([0, each])
    expect(blocks.at(-1)).toEqual([28 - each, 28])
  })

  test("the last block has what is left", () => {
    expect(layerBlocks(5, 10, 20)).toEqual([
      [0, 2],
      [2, 4],
      [4, 5],
    ])
  })
})

describe("before drawing", () => {
  let tiny: Model
  beforeAll(async () => {
    tiny = await load(join(goldenFolder, "pipeline-kolors/model"), { device: "cpu", threads: 1 })
  })
  afterAll(() => tiny.close())
  afterEach(() => vi.restoreAllMocks())

  /** The tiny model, with the needs of the published one. */
  function published(kept: "float32" | "int8" | "int4", changes: Partial<Model> = {}): Model {
    const [encoder] = tiny.textEncoders
    if (encoder.kind !== "chatglm") throw new Error("The golden is no Kolors.")
    const large = {
      ...encoder,
      kept,
      readingBytes: (as: typeof kept) => readingBytes(28, bytes[as], BLOCK_BYTES),
    }
    return { ...tiny, textEncoders: [large], ...changes }
  }

  test("a text encoder that does not fit is refused, with what would", () => {
    expect(() => checkMemory(published("float32"), 1.5e9)).not.toThrow()
    const check = () => checkMemory(published("float32"), 1.2e9)
    expect(check).toThrow(LimnError)
    expect(check).toThrow(
      'Reading the prompt with ChatGLM in float32 takes about 1.4 GB of memory, and 1.2 GB are free; load the model with textEncoder "int8" (1.1 GB), or close other programs.',
    )
    expect(() => checkMemory(published("int8"), 1.2e9)).not.toThrow()
    expect(() => checkMemory(published("int4"), 0.1e9)).toThrow(/ 0\.1 GB are free; close other programs\.$/)
  })

  test("a denoiser that does not fit is refused, unless it stays in its files", () => {
    const unet = { unetConfig: unetConfig(kolorsUnet, "unet") }
    expect(() => checkMemory(published("int8", unet), 9e9)).toThrow(
      "The denoiser's weights take 10.3 GB of memory, and 9.0 GB are free; load the model with lowMemory, or close other programs.",
    )
    expect(() => checkMemory(published("int8", unet), 11e9)).not.toThrow()
    const low = { ...unet, running: { ...tiny.running, lowMemory: true } }
    expect(() => checkMemory(published("int8", low), 9e9)).not.toThrow()
    const loaded = { ...unet, unet: { ...tiny.unet, isLoaded: () => true } }
    expect(() => checkMemory(published("int8", loaded), 9e9)).not.toThrow()
  })

  test("weights stay in their files where memory is short, and nobody says otherwise", async () => {
    const kolors = unetConfig(kolorsUnet, "unet")
    const cpu = { device: "cpu", precision: "fp32" } as const
    expect(needsLowMemory(kolors, cpu, 16e9)).toBe(true)
    expect(needsLowMemory(kolors, cpu, 32e9)).toBe(false)
    expect(needsLowMemory(kolors, { ...cpu, precision: "int8" }, 16e9)).toBe(false)
    expect(needsLowMemory(kolors, { ...cpu, device: "cuda" }, 1e9)).toBe(false)
    vi.spyOn(process, "availableMemory").mockReturnValue(1e4)
    const folder = join(goldenFolder, "pipeline/model")
    for (const [lowMemory, expected] of [
      [undefined, true],
      [false, false],
    ] as const) {
      const model = await load(folder, { device: "cpu", lowMemory })
      expect(model.running.lowMemory).toBe(expected)
      await model.close()
    }
  })

  test("nothing is refused on another device", () => {
    expect(() => checkMemory(published("float32", { device: "cuda" }), 0.1e9)).not.toThrow()
  })

  test("every drawing asks the system", async () => {
    vi.spyOn(process, "availableMemory").mockReturnValue(1e6)
    await expect(textToImage(tiny, { prompt: "a cat", steps: 1 })).rejects.toThrow(/0\.0 GB are free/)
  })
})
