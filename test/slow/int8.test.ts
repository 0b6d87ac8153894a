import { cpSync, existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { basename, join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Model } from "../../src/index.ts"
import { load, textToImage } from "../../src/index.ts"
import { cosineOf } from "../unit/golden.ts"

const folder = mkdtempSync(join(tmpdir(), "limn-int8-"))
const files = ["limn-int8-unet.safetensors", "limn-int8-decoder.safetensors"]

// Whoever has drawn with Inkling in int8 has these files already.
beforeAll(() =>
  cpSync(join(import.meta.dirname, "../../models/inkling"), folder, {
    recursive: true,
    filter: (path) => !files.includes(basename(path)),
  }),
)
afterAll(() => rmSync(folder, { recursive: true }))

/** The model, and how many weights were rounded while it was loaded. */
async function loadInt8(precision: "int8" | "fp32" = "int8") {
  let rounded = 0
  const model = await load(folder, { precision, device: "cpu", onQuantize: () => rounded++ })
  return { model, rounded }
}

describe("Inkling over integers", { timeout: 600_000 }, () => {
  test("draws what the full precision draws, nearly", async () => {
    const { model: full } = await loadInt8("fp32")
    const { model, rounded } = await loadInt8()
    expect(rounded).toBeGreaterThan(50)
    expect(files.every((file) => existsSync(join(folder, file)))).toBe(true)
    const ratios: number[] = []
    for (const [seed, prompt] of ["a red heart", "a cat", "彩虹"].entries()) {
      const [exact, near] = [await drawn(full, prompt, seed), await drawn(model, prompt, seed)]
      expect(cosineOf(near.latents, exact.latents)).toBeGreaterThan(0.998)
      ratios.push(psnr(near.image.pixels.data, exact.image.pixels.data))
      expect(near.settings.precision).toBe("int8")
    }
    expect(Math.min(...ratios)).toBeGreaterThan(33)
    await Promise.all([full.close(), model.close()])
  })

  test("rounds nothing twice, and draws the same picture of another size in the same integers", async () => {
    const [first, second] = [await loadInt8(), await loadInt8()]
    expect([first.rounded, second.rounded]).toEqual([0, 0])
    const order = { prompt: "a fish", seed: 5, steps: 3, width: 96, height: 160 }
    const [a, b] = [await textToImage(first.model, order), await textToImage(second.model, order)]
    expect(a.image.pixels.data).toEqual(b.image.pixels.data)
    await Promise.all([first.model.close(), second.model.close()])
  })
})

function drawn(model: Model, prompt: string, seed: number) {
  return textToImage(model, { prompt, seed })
}

/** In decibels. */
function psnr(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let error = 0
  for (let i = 0; i < a.length; i++) error += (a[i] - b[i]) ** 2 / a.length
  return 10 * Math.log10(255 ** 2 / error)
}
