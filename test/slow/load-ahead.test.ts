import { join } from "node:path"
import { afterEach, expect, test, vi } from "vitest"
import { load } from "../../src/pipelines/load.ts"
import type * as MemoryCheck from "../../src/pipelines/memory-check.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder } from "../unit/golden.ts"

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

/** What is opened, in order, and the picture's latents. */
async function drawn(folder: string, bytes?: number) {
  weigh = bytes === undefined ? undefined : () => bytes
  const model = await load(join(goldenFolder, folder, "model"), { device: "cpu", lowMemory: false })
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
  "a large model of %s loads all its parts before the first step, and draws the same picture",
  async (folder) => {
    const small = await drawn(folder)
    const large = await drawn(folder, 2 ** 32)
    expect(small.before).toContain("denoiser")
    expect(small.before).not.toContain("decoder")
    expect(large.before.indexOf("denoiser")).toBeLessThan(large.before.indexOf("decoder"))
    expect(large.latents).toEqual(small.latents)
    expect(large.pixels).toEqual(small.pixels)
  },
)

test("a large model that ChatGLM reads for loads its denoiser only then", async () => {
  const { before } = await drawn("pipeline-kolors", 2 ** 32)
  expect(before.filter((name) => name !== "text")).toEqual(["decoder", "denoiser", "denoiser"])
})
