import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { UsageError } from "../../src/ground/errors.ts"
import { type Pixels, pixels } from "../../src/ground/image.ts"
import { imageToImage } from "../../src/pipelines/image-to-image.ts"
import { load } from "../../src/pipelines/load.ts"
import { lora } from "../../src/pipelines/lora.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { grid } from "../../src/recipes/grid.ts"
import { goldenFolder } from "../unit/golden.ts"

let model: Model
beforeAll(async () => {
  model = await load(join(goldenFolder, "pipeline/model"), { device: "cpu", threads: 1 })
})
afterAll(() => model.close())

const options = { prompt: "a cat", width: 64, height: 48, steps: 2, seed: 5 }

describe("a grid", () => {
  test("is made of the pictures that its settings make alone", async () => {
    const order: number[][] = []
    const { image, cells, warnings } = await grid(model, {
      ...options,
      x: { setting: "steps", values: [1, 3] },
      y: { setting: "scheduler", values: ["ddim", "Euler a"] },
      onPicture: ({ row, column }) => void order.push([row, column]),
    })
    expect(order).toEqual([
      [0, 0],
      [0, 1],
      [1, 0],
      [1, 1],
    ])
    for (const [row, scheduler] of ["ddim", "Euler a"].entries())
      for (const [column, steps] of [1, 3].entries()) {
        const alone = await textToImage(model, { ...options, steps, scheduler })
        const cell = cells[row][column].image
        expect(cell.pixels).toEqual(alone.image.pixels)
        expect(cell.text).toEqual(alone.image.text)
        expect(within(image.pixels, cell.pixels)).toBe(1)
      }
    expect(warnings).toEqual([])
    const { grid: axes, ...common } = JSON.parse(image.text.limn)
    expect(axes.y).toEqual({ setting: "scheduler", values: ["ddim", "Euler a"] })
    expect(common).toMatchObject({ prompt: "a cat", seed: 5, width: 64 })
    expect(Object.keys(common)).not.toContain("steps")
  })

  test("has one seed where none is said, and other prompts and seeds where they are", async () => {
    const { seed: _, ...unsaid } = options
    const one = await grid(model, { ...unsaid, x: { setting: "prompt", values: ["a cat", "a dog"] } })
    const [cat, dog] = one.cells[0]
    expect(cat.seed).toBe(dog.seed)
    expect(cat.image.pixels.data).not.toEqual(dog.image.pixels.data)
    const two = await grid(model, { ...options, x: { setting: "seed", values: [1, 2n ** 64n - 1n] } })
    expect(two.cells[0].map(({ seed }) => seed)).toEqual([1, 2n ** 64n - 1n])
    expect(JSON.parse(two.image.text.limn).grid.x.values).toEqual([1, "18446744073709551615"])
  })

  test("may be drawn over a picture, at other strengths", async () => {
    const bytes = Uint8Array.from({ length: 3 * 64 * 48 }, (_, i) => (i * 7) % 251)
    const image = pixels(64, 48, 3, bytes)
    const { cells } = await grid(model, {
      ...options,
      steps: 4,
      image,
      x: { setting: "strength", values: [0.25, 1] },
    })
    const alone = await imageToImage(model, { ...options, steps: 4, image, strength: 0.25 })
    expect(cells[0][0].image.pixels).toEqual(alone.image.pixels)
    expect(cells[0][1].image.pixels.data).not.toEqual(alone.image.pixels.data)
  })

  test("takes a model's LoRAs at other scales", async () => {
    const inked = await model.with(lora(join(goldenFolder, "lora/ink.safetensors"), { scale: 0.3 }))
    const { cells, image } = await grid(inked, { ...options, x: { setting: "loraScale", values: [0, 0.3] } })
    const plain = await textToImage(model, options)
    const alone = await textToImage(inked, options)
    const [none, some] = cells[0].map((cell) => cell.image.pixels)
    expect(some).toEqual(alone.image.pixels)
    // Nothing of a LoRA is still an addition of zeros, which rounds its own way.
    const differences = none.data.map((byte, i) => Math.abs(byte - plain.image.pixels.data[i]))
    expect(Math.max(...differences)).toBeLessThanOrEqual(1)
    expect(some.data).not.toEqual(none.data)
    expect(JSON.parse(image.text.limn).loras).toEqual(["ink"])
    await inked.close()
  })

  test("draws nothing where one of its pictures cannot be", async () => {
    let drawn = 0
    const wrong = grid(model, {
      ...options,
      x: { setting: "steps", values: [1, 2, 0] },
      onStep: () => void drawn++,
    })
    await expect(wrong).rejects.toThrow(UsageError)
    expect(drawn).toBe(0)
  })
})

/** How often a picture lies in another, to the pixel. */
function within(page: Pixels, cell: Pixels): number {
  let count = 0
  for (let top = 0; top <= page.height - cell.height; top++)
    for (let left = 0; left <= page.width - cell.width; left++) {
      let same = true
      for (let y = 0; same && y < cell.height; y++)
        for (let x = 0; same && x < 3 * cell.width; x++)
          same = page.data[3 * ((top + y) * page.width + left) + x] === cell.data[3 * y * cell.width + x]
      if (same) count++
    }
  return count
}
