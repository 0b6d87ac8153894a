import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import type { Pixels } from "../../src/ground/image.ts"
import { pixels } from "../../src/ground/image.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { depthImageConfig, depthImageSize } from "../../src/models/config/depth-image.ts"
import type { DepthAnnotator } from "../../src/pipelines/depth.ts"
import { depthPicture, openDepthAnnotator } from "../../src/pipelines/depth.ts"
import { dice, fuzzRounds } from "./dice.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "./golden.ts"

const golden = goldenTensors("depth/maps.safetensors")
const placeOf = (path: string) => join(goldenFolder, "depth", path)
const networks = {
  "depth-anything": "depth-anything/onnx/model.onnx",
  dpt: "dpt/model.onnx",
  bare: "bare.onnx",
  fixed: "fixed.onnx",
}

function pictureOf(n: number): Pixels {
  const { shape, data } = golden[`${n}.picture`]
  return pixels(shape[1], shape[0], 3, data as Uint8Array)
}

async function opened<T>(path: string, use: (annotator: DepthAnnotator) => Promise<T>): Promise<T> {
  const annotator = await openDepthAnnotator(path, { threads: 1 })
  try {
    return await use(annotator)
  } finally {
    await annotator.close()
  }
}

/** The share of values that are the golden's; the others must be beside it. */
function sameShare(map: Pixels, name: string): number {
  const { shape, data } = golden[name]
  expect([map.height, map.width, map.channels]).toEqual([...shape, 3])
  const off = map.data.map((value, i) => Math.abs(value - Number(data[Math.floor(i / 3)])))
  expect(Math.max(...off)).toBeLessThanOrEqual(1)
  return off.filter((one) => one === 0).length / off.length
}

describe("depth as transformers reads it", () => {
  test.each(Object.entries(networks))("by %s", async (name, path) => {
    await opened(placeOf(path), async (annotator) => {
      for (const n of [0, 1, 2]) {
        const expected = golden[`${name}.${n}.depth`]
        if (expected !== undefined)
          expect(relativeDifference(await annotator.depth(pictureOf(n)), expected)).toBeLessThan(1e-5)
        expect(sameShare(await annotator.map(pictureOf(n)), `${name}.${n}.map`)).toBeGreaterThan(0.998)
      }
    })
  })

  test("in another size, and of what is transparent as white", async () => {
    await opened(placeOf(networks["depth-anything"]), async (annotator) => {
      const map = await annotator.map(pictureOf(0), { width: 96, height: 32 })
      expect(sameShare(map, "wide.map")).toBeGreaterThan(0.998)
      const clear = pixels(20, 10, 4, new Uint8Array(4 * 20 * 10))
      const white = pixels(20, 10, 3, new Uint8Array(3 * 20 * 10).fill(255))
      expect(await annotator.depth(clear)).toEqual(await annotator.depth(white))
    })
  })

  test("shows pictures at the sizes that it gives them", () => {
    const sizes = goldenJson<[unknown, [number, number], [number, number]][]>("depth/sizes.json")
    for (const [config, [width, height], [w, h]] of sizes)
      expect(depthImageSize(depthImageConfig(config, "x"), { width, height })).toEqual({
        width: w,
        height: h,
      })
  })

  test("is black where all is as near", () => {
    expect(depthPicture(float32([2, 2], [3, 3, 3, 3]), { width: 3, height: 1 }).data).toEqual(
      new Uint8Array(9),
    )
  })

  test("does not grow with pictures that are long", async () => {
    await opened(placeOf("bare.onnx"), async (annotator) => {
      const seen = annotator.depth(pixels(40000, 518, 3, new Uint8Array(3 * 40000 * 518)))
      await expect(seen).rejects.toThrow(UsageError)
      await expect(seen).rejects.toThrow(
        /40000x518 would be shown to .* which is too much; give a part of it\./,
      )
    })
  })
})

describe("what is no network for depth, or says of itself what limn does not do", () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "limn-depth-"))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  test.each<[string, string, typeof LimnError, RegExp]>([
    ["a missing file", placeOf("nowhere.onnx"), LimnError, /nowhere\.onnx/],
    [
      "a detector of faces",
      join(goldenFolder, "faces/models/detector.onnx"),
      FormatError,
      /detector\.onnx does not tell depth: it takes input\.1 float32 \[1, 3, .*\] and gives score_8 /,
    ],
    [
      "a recogniser of faces",
      join(goldenFolder, "faces/models/recogniser.onnx"),
      FormatError,
      /gives 683 float32 \[683\.0, 512\], where MiDaS, DPT and Depth Anything take/,
    ],
    ["no ONNX file", placeOf("sizes.json"), FormatError, /sizes\.json/],
  ])("%s", async (_, path, kind, message) => {
    const failing = openDepthAnnotator(path)
    await expect(failing).rejects.toThrow(kind)
    await expect(failing).rejects.toThrow(message)
  })

  test.each<[string, RegExp]>([
    ["[]", /is not a JSON object/],
    ["{", /is not valid JSON/],
    ['{"resample": 2}', /"resample" is 2; limn supports 3/],
    ['{"size": {"shortest_edge": 518}}', /"size" is .*; limn needs a height and a width of 1 to 4096 pixels/],
    ['{"size": 100000}', /"size" is 100000; limn needs/],
    ['{"do_pad": true}', /"do_pad" is true; limn supports false/],
    ['{"image_std": [0, 1, 1]}', /"image_std\[0\]" is 0; limn needs a positive number/],
  ])("a preprocessor_config.json of %s", async (text, message) => {
    mkdirSync(join(folder, "onnx"))
    copyFileSync(placeOf("fixed.onnx"), join(folder, "onnx/model.onnx"))
    writeFileSync(join(folder, "preprocessor_config.json"), text)
    await expect(openDepthAnnotator(join(folder, "onnx/model.onnx"))).rejects.toThrow(FormatError)
    await expect(openDepthAnnotator(join(folder, "onnx/model.onnx"))).rejects.toThrow(message)
  })

  test("configurations are read, or refused by a FormatError", () => {
    const rounds = fuzzRounds(1250)
    const { below, pick } = dice(20261127)
    const names = ["size", "resample", "image_mean", "image_std", "rescale_factor", "keep_aspect_ratio"]
    const more = ["ensure_multiple_of", "do_pad", "do_resize", "__proto__"]
    const value = (depth: number): unknown => {
      const scalars = [0, 1, 3, 14, 518, -1, 0.5, 1e-300, 1e300, null, true, false, "bicubic"]
      if (depth === 0 || below(3) > 0) return pick(scalars)
      if (below(2) > 0) return Array.from({ length: below(5) }, () => value(depth - 1))
      return { height: value(0), width: value(0), shortest_edge: value(0) }
    }
    let read = 0
    for (let i = 0; i < rounds; i++) {
      const json = Object.fromEntries(
        Array.from({ length: below(4) }, () => [pick([...names, ...more]), value(2)]),
      )
      try {
        const { width, height } = depthImageSize(depthImageConfig(json, "fuzzed"), { width: 70, height: 50 })
        if (!(Number.isInteger(width) && Number.isInteger(height) && width > 0 && height > 0))
          expect.fail(`${JSON.stringify(json)} gives ${width}x${height}`)
        read++
      } catch (error) {
        if (!(error instanceof FormatError)) throw error
      }
    }
    expect(read).toBeGreaterThan(rounds / 10)
  })
})
