import { expect, test } from "vitest"
import { extendImage } from "../../src/ground/extend.ts"
import { pixels } from "../../src/ground/image.ts"

/** Grey pixels in rows. */
const grey = (rows: readonly (readonly number[])[]) =>
  pixels(rows[0].length, rows.length, 3, Uint8Array.from(rows.flat().flatMap((v) => [v, v, v])))

test("a picture's edges are drawn out, the more blurred the farther", () => {
  const picture = grey([
    [0, 10],
    [60, 20],
    [0, 90],
  ])
  expect(extendImage(picture, { left: 2, top: 0, right: 1, bottom: 0 })).toEqual(
    grey([
      [20, 30, 0, 10, 15],
      [20, 20, 60, 20, 40],
      [20, 30, 0, 90, 55],
    ]),
  )
})

test("corners are drawn out of what was drawn out beside them", () => {
  const picture = grey([
    [8, 8],
    [8, 200],
  ])
  const { width, height, data } = extendImage(picture, { left: 1, top: 2, right: 3, bottom: 1 })
  expect([width, height]).toEqual([6, 5])
  const at = (x: number, y: number) => data[3 * (y * width + x)]
  expect(Array.from({ length: 6 }, (_, x) => at(x, 0))).toEqual([8, 32, 46, 66, 80, 104])
  expect([at(1, 2), at(2, 3)]).toEqual([8, 200])
})

test("all channels are kept apart, and nothing is changed without sides", () => {
  const picture = pixels(1, 1, 4, Uint8Array.of(1, 2, 3, 4))
  const sides = { left: 1, top: 1, right: 0, bottom: 0 }
  expect(Array.from(extendImage(picture, sides).data)).toEqual(
    Array.from({ length: 4 }, () => [1, 2, 3, 4]).flat(),
  )
  expect(extendImage(picture, { left: 0, top: 0, right: 0, bottom: 0 })).toEqual(picture)
})
