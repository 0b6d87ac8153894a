import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, expect, test, vi } from "vitest"
import { load } from "../../src/pipelines/load.ts"
import type * as MemoryCheck from "../../src/pipelines/memory-check.ts"
import type { Precision } from "../../src/pipelines/model.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder } from "../unit/golden.ts"

const golden = (name: string) => join(goldenFolder, name, "model")

let weigh: ((own: number) => number) | undefined
vi.mock("../../src/pipelines/memory-check.ts", async (original) => {
  const own = await original<typeof MemoryCheck>()
  return {
    ...own,
    weightBytes: (...given: Parameters<typeof own.weightBytes>) =>
      weigh?.(own.weightBytes(...given)) ?? own.weightBytes(...given),
  }
})
afterEach(() => {
  weigh = undefined
})

/** What is opened before the first step, in order, and what comes out. */
async function drawn(
  folder: string,
  { bytes, precision = "fp32" }: { bytes?: number; precision?: Precision } = {},
) {
  weigh = bytes === undefined ? undefined : () => bytes
  const model = await load(folder, { device: "cpu", lowMemory: false, precision })
  const opened: string[] = []
  const watch = (name: string, network: { open: (...args: never[]) => unknown }) => {
    const { open } = network
    network.open = (...args) => {
      opened.push(name)
      return open(...args)
    }
  }
  for (const { network } of model.textEncoders) watch("text", network)
  watch("denoiser", model.unet)
  watch("decoder", model.decoder)
  const { latents, images } = await textToImage(model, {
    prompt: "a red heart",
    seed: 7,
    steps: 2,
    onStep: ({ step }) => void opened.push(`step ${step}`),
  })
  await model.close()
  const first = opened.indexOf("step 1")
  return { before: opened.slice(0, first), latents, pixels: images[0].pixels }
}

test.each(["pipeline", "pipeline-xl"])(
  "a large model of %s loads its denoiser ahead in another lane, and draws the same picture",
  async (folder) => {
    const small = await drawn(golden(folder))
    const large = await drawn(golden(folder), { bytes: 2 ** 32 })
    expect(small.before).toContain("denoiser")
    expect(small.before).not.toContain("decoder")
    expect(large.before).toEqual(small.before)
    expect(large.latents).toEqual(small.latents)
    expect(large.pixels).toEqual(small.pixels)
  },
)

test("a large model over integers loads its decoder ahead too", async () => {
  const folder = mkdtempSync(join(tmpdir(), "limn-ahead-"))
  cpSync(golden("pipeline"), folder, { recursive: true })
  const small = await drawn(folder, { precision: "int8" })
  const large = await drawn(folder, { bytes: 2 ** 32, precision: "int8" })
  rmSync(folder, { recursive: true })
  expect(small.before).not.toContain("decoder")
  expect(large.before.indexOf("denoiser")).toBeLessThan(large.before.indexOf("decoder"))
  expect(large.pixels).toEqual(small.pixels)
})

test("a large model that ChatGLM reads for loads its denoiser only then", async () => {
  const { before } = await drawn(golden("pipeline-kolors"), { bytes: 2 ** 32 })
  expect(before.lastIndexOf("text")).toBeLessThan(before.indexOf("denoiser"))
})
