import { join } from "node:path"
import { describe, expect, it, test } from "vitest"
import { FormatError, LimnError } from "../../src/ground/errors.ts"
import { type Pixels, pixels } from "../../src/ground/image.ts"
import { float32, type Tensor } from "../../src/ground/tensor.ts"
import { clipImageConfig } from "../../src/models/config/clip-image.ts"
import { isUnsafe } from "../../src/models/safety-checker.ts"
import { clipPixels } from "../../src/pipelines/clip-pixels.ts"
import { findSafetyChecker, openSafetyChecker, safetyChecker } from "../../src/pipelines/safety-checker.ts"
import { goldenFolder, goldenTensors, relativeDifference } from "./golden.ts"

const running = { device: "cpu", threads: 1, precision: "fp32" } as const

function pictureOf({ shape, data }: Tensor): Pixels {
  const [height, width] = shape
  return pixels(width, height, 3, data as Uint8Array)
}

describe.each(["published", "today"])("the safety checker with the names of %s", (name) => {
  test("sees the same pictures as diffusers', and withholds the same", async () => {
    const golden = goldenTensors(`safety-checker/${name}/case.safetensors`)
    const files = await findSafetyChecker(join(goldenFolder, "safety-checker", name))
    const checker = safetyChecker(files, running)
    const count = golden.withheld.shape[0]
    const pictures = Array.from({ length: count }, (_, n) => pictureOf(golden[`${n}.picture`]))
    const margins: Record<string, number[]> = { specialCare: [], concepts: [] }
    for (const [n, picture] of pictures.entries()) {
      const seen = clipPixels(picture, checker.pictures)
      expect(relativeDifference(seen, golden[`${n}.pixels`])).toBeLessThan(1e-6)
      const run = await checker.network.run({ pixels: seen })
      for (const [key, list] of Object.entries(margins)) list.push(...(run[key].data as Float32Array))
    }
    for (const [ours, theirs] of [
      ["specialCare", "special_care"],
      ["concepts", "concepts"],
    ])
      for (const [i, margin] of margins[ours].entries())
        expect(Math.abs(margin - Number(golden[theirs].data[i])), `${ours} ${i}`).toBeLessThan(1e-5)
    const opened = await openSafetyChecker(checker)
    const decisions = await opened.check(pictures)
    expect(decisions.map(Number)).toEqual(Array.from(golden.withheld.data as Uint8Array))
    // By a concept, and by one that special care made out; none of the others.
    expect(decisions).toEqual([false, true, true, false, false, false])
    opened.release()
    await checker.network.close()
  })
})

describe("a picture is withheld", () => {
  const none = [-0.5, -0.5, -0.5]

  it("for one concept, and not for special care alone", () => {
    expect(isUnsafe(none, [-0.2, 0.001])).toBe(true)
    expect(isUnsafe(none, [-0.2, -0.001])).toBe(false)
    expect(isUnsafe([0.5, 0.5, 0.5], [-0.2, -0.011])).toBe(false)
  })

  it("at a threshold lowered by 0.01 where something wants special care", () => {
    expect(isUnsafe(none, [-0.009])).toBe(false)
    expect(isUnsafe([-0.1, 0.001, -0.1], [-0.009])).toBe(true)
  })

  it("by thousandths, half of one being none", () => {
    expect(isUnsafe(none, [Math.fround(0.0004)])).toBe(false)
    expect(isUnsafe(none, [Math.fround(0.0005)])).toBe(false)
    expect(isUnsafe(none, [Math.fround(0.0006)])).toBe(true)
  })
})

describe("the preprocessor of a safety checker", () => {
  const read = (json: object) => clipImageConfig(json, "preprocessor_config.json", 224)

  it("may say its sizes in the forms of both times", () => {
    const asked = { shortestEdge: 256, cropSize: 224 }
    expect(read({ size: 256, crop_size: 224 })).toMatchObject(asked)
    expect(read({ size: { shortest_edge: 256 }, crop_size: { height: 224, width: 224 } })).toMatchObject(
      asked,
    )
    expect(read({}).mean).toEqual([0.48145466, 0.4578275, 0.40821073])
  })

  it.each([
    [{ crop_size: 256 }, '"crop_size" is 256; the model reads pictures of 224x224'],
    [{ size: 200 }, '"size" is 200; limn cuts out of larger pictures'],
    [{ resample: 2 }, '"resample" is 2; limn supports 3'],
    [{ do_normalize: false }, '"do_normalize" is false; limn supports true'],
  ])("is refused where it is %o", (json, message) => {
    expect(() => read(json)).toThrow(FormatError)
    expect(() => read(json)).toThrow(message)
  })

  it("gives an odd cut its middle", () => {
    const row = Uint8Array.from({ length: 12 }, (_, i) => 20 * Math.floor(i / 3))
    const config = { shortestEdge: 1, cropSize: 1, mean: [0, 0, 0], deviation: [1, 1, 1] } as const
    const seen = clipPixels(pixels(4, 1, 3, row), config)
    expect(seen).toEqual(float32([1, 3, 1, 1], new Array(3).fill(20 / 255)))
  })
})

test("a checker that the index names and the folder lacks is an error that says what to do", async () => {
  const missing = findSafetyChecker(join(goldenFolder, "pipeline/model"))
  await expect(missing).rejects.toThrow(LimnError)
  await expect(missing).rejects.toThrow("--no-safety-checker")
})
