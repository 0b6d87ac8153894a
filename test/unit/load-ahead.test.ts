import { join } from "node:path"
import { afterEach, describe, expect, test, vi } from "vitest"
import type { DrawOptions } from "../../src/pipelines/draw.ts"
import { load } from "../../src/pipelines/load.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder } from "./golden.ts"

afterEach(() => vi.restoreAllMocks())

const stop = new Error("enough")

/** What the denoiser is opened for, in order, and how many times before a text was read; nothing is drawn. */
async function openings(folder: string, options: DrawOptions, lowMemory = false) {
  const model = await load(join(goldenFolder, folder, "model"), { device: "cpu", threads: 1, lowMemory })
  const opened = vi.spyOn(model.unet, "open")
  let ahead = 0
  const read = model.textEncoders[0].network.run
  vi.spyOn(model.textEncoders[0].network, "run").mockImplementation((...args) => {
    ahead = opened.mock.calls.length
    return read(...args)
  })
  vi.spyOn(model.decoder, "open").mockRejectedValue(stop)
  await expect(textToImage(model, { steps: 1, ...options })).rejects.toBe(stop)
  const types = opened.mock.calls.map(([inputs]) =>
    Object.fromEntries(Object.entries(inputs).map(([name, { dtype, shape }]) => [name, [dtype, ...shape]])),
  )
  await model.close()
  return { ahead, types }
}

const drawings: readonly [string, DrawOptions][] = [
  ["a text", { prompt: "a red heart" }],
  ["a text without guidance", { prompt: "a red heart", guidanceScale: 1 }],
  ["texts, several pictures of each", { prompt: ["a cat", "a dog"], imagesPerPrompt: 2 }],
  ["another size", { prompt: "a cat", width: 64, height: 128 }],
  ["guidance at some steps", { prompt: "a cat", steps: 2, guidanceInterval: [0, 0.5] }],
  ["layers that are kept", { prompt: "a cat", steps: 2, cacheInterval: 2 }],
]
const chunks: [string, DrawOptions] = [
  "two chunks",
  { prompt: "a cat BREAK a dog", promptSyntax: "weighted" },
]

describe.each([
  ["pipeline", [...drawings, chunks]],
  ["pipeline-xl", [...drawings, chunks]],
  ["pipeline-kolors", drawings],
] as const)("the denoiser of %s", (folder, cases) => {
  test.each(cases)("is loaded ahead for %s, as it is used", async (_, options) => {
    const { ahead, types } = await openings(folder, options)
    expect(ahead).toBeGreaterThan(0)
    expect(new Set(types.map((one) => JSON.stringify(one))).size).toBe(options.cacheInterval ?? 1)
  })

  test("is not in low memory", async () => {
    expect((await openings(folder, { prompt: "a cat" }, true)).ahead).toBe(0)
  })
})
