import { describe, expect, it, test } from "vitest"
import { cannyEdges } from "../../src/ground/canny.ts"
import { UsageError } from "../../src/ground/errors.ts"
import { type Pixels, pixels } from "../../src/ground/image.ts"
import { goldenJson, goldenTensors } from "./golden.ts"

const golden = goldenTensors("canny/pictures.safetensors")
const thresholds = goldenJson<[low: number, high: number][]>("canny/thresholds.json")

function picture(n: number): Pixels {
  const { shape, data } = golden[`${n}.picture`]
  return pixels(shape[1], shape[0], 3, data as Uint8Array)
}

/** One colour of a picture, once all three are seen to be the same. */
function single({ data }: Pixels): Uint8Array {
  expect(data.every((value, i) => value === data[i - (i % 3)])).toBe(true)
  return data.filter((_, i) => i % 3 === 0)
}

describe("edges as OpenCV finds them", () => {
  test.each(thresholds.map((pair, n) => [n, ...pair]))("picture %i between %d and %d", (n, low, high) => {
    for (const [name, gray] of [
      ["colour", false],
      ["gray", true],
    ] as const)
      expect(single(cannyEdges(picture(n), { low, high, gray }))).toEqual(golden[`${n}.${name}`].data)
  })

  it("between 100 and 200 where nothing is said", () => {
    const n = thresholds.findIndex(([low, high], i) => low === 100 && high === 200 && i > 10)
    expect(single(cannyEdges(picture(n)))).toEqual(golden[`${n}.colour`].data)
  })

  it("whatever is transparent", () => {
    const { width, height, data } = picture(12)
    const clear = new Uint8Array(4 * width * height).map((_, i) =>
      i % 4 === 3 ? i % 256 : data[Math.floor(i / 4) * 3 + (i % 4)],
    )
    expect(cannyEdges(pixels(width, height, 4, clear))).toEqual(cannyEdges(picture(12)))
  })

  it("of thresholds that are numbers", () => {
    expect(() => cannyEdges(picture(0), { low: Number.NaN })).toThrow(UsageError)
  })
})
