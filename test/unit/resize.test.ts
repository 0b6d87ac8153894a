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

test.each([...Array(Object.keys(golden).length / 3).keys()])("resizes as Pillow does, case %i", (n) => {
  const from = picture(`${n}.from`)
  const expected = picture(`${n}.to`)
  const { width, height } = expected
  expect(resizeImage(from, width, height)).toEqual(expected)
  expect(resizeImage(from, width, height, "bicubic")).toEqual(picture(`${n}.cubic`))
})

test.each([0, -3, 2.5, Number.NaN])("refuses a side of %d pixels", (side) => {
  expect(() => resizeImage(picture("0.from"), side, 8)).toThrow(UsageError)
})
