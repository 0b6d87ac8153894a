import { cpSync, existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Model } from "../../src/index.ts"
import { load, textToImage } from "../../src/index.ts"
import { cosineOf } from "../unit/golden.ts"

const folder = mkdtempSync(join(tmpdir(), "limn-int8-"))
const calibrated = join(folder, "limn-int8.json")
const weights = join(folder, "limn-int8-unet.safetensors")

beforeAll(() => cpSync(join(import.meta.dirname, "../../models/inkling"), folder, { recursive: true }))
afterAll(() => rmSync(folder, { recursive: true }))

/** Steps of calibration that were walked while a model was loaded. */
async function loadInt8(signal?: AbortSignal, onStep?: (done: number) => void) {
  const seen: number[] = []
  const onCalibration = (done: number) => {
    seen.push(done)
    onStep?.(done)
  }
  const model = await load(folder, { precision: "int8", device: "cpu", signal, onCalibration })
  return { model, seen }
}

describe("Inkling over integers", { timeout: 600_000 }, () => {
  test("a calibration that was stopped goes on where it was", async () => {
    const stop = new AbortController()
    const stopped = loadInt8(stop.signal, (done) => {
      if (done === 12) stop.abort(new Error("enough"))
    })
    await expect(stopped).rejects.toThrow("enough")
    expect(JSON.parse(readFileSync(calibrated, "utf8"))).toMatchObject({ drawn: 2 })
    expect(existsSync(weights)).toBe(false)
    const { model, seen } = await loadInt8()
    expect(seen[0]).toBe(10)
    expect(seen.at(-1)).toBe(40)
    await model.close()
  })

  test("draws what the full precision draws, nearly", async () => {
    const full = await load(folder, { device: "cpu" })
    const { model, seen } = await loadInt8()
    expect(seen).toEqual([])
    const ratios: number[] = []
    for (const [seed, prompt] of ["a red heart", "a cat", "彩虹"].entries()) {
      const [exact, rounded] = [await drawn(full, prompt, seed), await drawn(model, prompt, seed)]
      expect(cosineOf(rounded.latents, exact.latents)).toBeGreaterThan(0.995)
      ratios.push(psnr(rounded.image.pixels.data, exact.image.pixels.data))
      expect(rounded.settings.precision).toBe("int8")
    }
    expect(Math.min(...ratios)).toBeGreaterThan(28)
    await Promise.all([full.close(), model.close()])
  })

  test("what is kept is of these weights, whole and unharmed, or made anew", async () => {
    const madeAt = statSync(weights).mtimeMs
    const kept = JSON.parse(readFileSync(calibrated, "utf8"))
    writeFileSync(calibrated, JSON.stringify({ ...kept, drawn: 7, madeFrom: "another version" }))
    const { model, seen } = await loadInt8()
    expect(seen[0]).toBe(0)
    await model.close()
    writeFileSync(calibrated, "{")
    const again = await loadInt8()
    expect(again.seen[0]).toBe(0)
    await again.model.close()
    // The same pictures were drawn, so the weights are rounded as before.
    expect(JSON.parse(readFileSync(calibrated, "utf8"))).toEqual(kept)
    expect(statSync(weights).mtimeMs).toBe(madeAt)
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
