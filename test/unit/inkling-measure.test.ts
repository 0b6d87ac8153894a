import { expect, test } from "vitest"
import { type Gallery, nearestOthers, pixelJudge } from "../../inkling/nearest.ts"
import { chance, recall } from "../../inkling/recall.ts"
import { pixels } from "../../src/ground/image.ts"
import { dice } from "./dice.ts"

const found = [
  ["heart", "heart", "star", "apple", "sun"],
  ["apple", "heart", "heart", "star", "sun"],
  ["sun", "moon", "tree", "fish", "star"],
  ["moon", "moon", "moon", "moon", "moon"],
]

test("recall counts the first, and the first five", () => {
  expect(recall(["heart", "heart", "cat", "moon"], found)).toEqual({ top1: 0.5, top5: 0.75 })
  expect(recall(["star", "star", "star", "star"], found)).toEqual({ top1: 0, top5: 0.75 })
})

test("chance is the mean of recall over all orders of the prompts", () => {
  const wanted = ["heart", "star", "heart", "moon"]
  const orders = permutations(wanted)
  const mean = (part: "top1" | "top5") =>
    orders.reduce((sum, order) => sum + recall(order, found)[part], 0) / orders.length
  expect(orders).toHaveLength(24)
  expect(chance(wanted, found).top1).toBeCloseTo(mean("top1"), 10)
  expect(chance(wanted, found).top5).toBeCloseTo(mean("top5"), 10)
})

function permutations<T>(items: readonly T[]): T[][] {
  if (items.length === 0) return [[]]
  return items.flatMap((item, i) =>
    permutations([...items.slice(0, i), ...items.slice(i + 1)]).map((rest) => [item, ...rest]),
  )
}

const { below } = dice(4)
const side = 6

/** Mostly white, as drawings are. */
function picture() {
  const data = Uint8Array.from({ length: side * side * 3 }, () => (below(3) === 0 ? below(256) : 255))
  return pixels(side, side, 3, data)
}

const gallery: Gallery = {
  concepts: Array.from({ length: 150 }, (_, i) => `u${i % 40}`),
  pictures: Array.from({ length: 150 }, picture),
}

function squaredError(a: Uint8Array, b: Uint8Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += (a[i] - b[i]) ** 2
  return sum
}

test("the pixel judge finds the drawings of the least squared error, in batches too", async () => {
  const queries = Array.from({ length: 140 }, picture)
  const near = await pixelJudge(gallery).nearest(queries, 5)
  for (const [n, { data }] of queries.entries()) {
    const errors = gallery.pictures.map((drawing) => squaredError(data, drawing.data))
    const nearest = [...errors.keys()].sort((a, b) => errors[a] - errors[b]).slice(0, 5)
    expect(near[n]).toEqual(nearest)
  }
})

test("a drawing's nearest others leave itself out", async () => {
  const judge = pixelJudge(gallery)
  const near = await nearestOthers(gallery, judge, [3, 77], 4)
  for (const [n, place] of [3, 77].entries()) {
    expect(near[n]).toHaveLength(4)
    expect(near[n]).not.toContain(place)
    expect((await judge.nearest([gallery.pictures[place]], 5))[0]).toEqual([place, ...near[n]])
  }
})
