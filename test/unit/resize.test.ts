import { expect, test } from "vitest"
import { UsageError } from "../../src/ground/errors.ts"
import { type Pixels, pixels } from "../../src/ground/image.ts"
import { resizeImage } from "../../src/ground/resize.ts"
import { goldenTensors } from "./golden.ts"

const golden = goldenTensors("resize.safetensors")

function picture(name: string): Pixels {
  const { shape, data } = golden[name]
  const [height, width] = shape
  return pixels(width, height, 3, data as Uint8Array)
}

const cases = [...Array(Object.keys(golden).length / 3).keys()]

test.each(cases)("resizes as Pillow does, case %i", (n) => {
  for (const filter of ["lanczos", "bicubic"] as const) {
    const expected = picture(`${n}.${filter}`)
    const actual = resizeImage(picture(`${n}.from`), expected.width, expected.height, filter)
    expect(actual).toEqual(expected)
  }
})

test.each([0, -3, 2.5, Number.NaN])("refuses a side of %d pixels", (side) => {
  expect(() => resizeImage(picture("0.from"), side, 8)).toThrow(UsageError)
})
