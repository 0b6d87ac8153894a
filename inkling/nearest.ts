import { readFileSync } from "node:fs"
import { join } from "node:path"
import type { Scorer } from "../src/evaluation/match-score.ts"
import { matmul } from "../src/graph/ops/index.ts"
import type { Pixels } from "../src/ground/image.ts"
import { pixels } from "../src/ground/image.ts"
import type { Tensor } from "../src/ground/tensor.ts"
import { float32 } from "../src/ground/tensor.ts"
import { network } from "../src/pipelines/network.ts"
import { rowsOf } from "../src/pipelines/rows.ts"
import { readBytesTensor } from "./files.ts"

/** Drawings that pictures are compared with, and the concept of each. */
export interface Gallery {
  readonly concepts: readonly string[]
  readonly pictures: readonly Pixels[]
}

/** One way to tell which drawings a picture resembles. */
export interface Judge {
  /** The `count` nearest drawings of each picture, the nearest first, as places in the gallery. */
  nearest(pictures: readonly Pixels[], count: number): Promise<number[][]>
}

/** Reads the plain drawings that make-dataset.ts wrote. */
export function openGallery(folder: string): Gallery {
  const { data, shape } = readBytesTensor(join(folder, "images.safetensors"), "pixels")
  const [count, height, width] = shape
  const size = height * width * 3
  const lines = readFileSync(join(folder, "drawings.jsonl"), "utf8").trim().split("\n")
  return {
    concepts: lines.map((line) => (JSON.parse(line) as { concept: string }).concept),
    pictures: Array.from({ length: count }, (_, i) =>
      pixels(width, height, 3, data.subarray(i * size, (i + 1) * size)),
    ),
  }
}

/** Judges by the cosine of image embeddings. */
export async function embeddingJudge(gallery: Gallery, scorer: Scorer): Promise<Judge> {
  const table = await scorer.imageEmbeddings(gallery.pictures)
  return {
    nearest: async (pictures, count) => rank(await scorer.imageEmbeddings(pictures), table, count),
  }
}

/** Judges by the mean squared error of the pixels, which needs nothing learnt. */
export function pixelJudge(gallery: Gallery): Judge {
  const table = pixelRows(gallery.pictures)
  const [count, width] = table.shape
  // |a - b|^2 = |a|^2 - 2 (a b - |b|^2 / 2), and |a| is the same for all drawings b.
  const halfSquares = Float32Array.from({ length: count }, (_, n) => {
    let sum = 0
    for (let k = n * width; k < (n + 1) * width; k++) sum += table.data[k] ** 2
    return sum / 2
  })
  return { nearest: async (pictures, count) => rank(pixelRows(pictures), table, count, halfSquares) }
}

/** The nearest drawings of drawings of the gallery, each without itself. */
export async function nearestOthers(
  gallery: Gallery,
  judge: Judge,
  places: readonly number[],
  count: number,
): Promise<number[][]> {
  const found = await judge.nearest(
    places.map((place) => gallery.pictures[place]),
    count + 1,
  )
  return found.map((near, i) => near.filter((place) => place !== places[i]).slice(0, count))
}

/** Rows of a table that are compared with at once. */
const batchSize = 128

/** For each row of `queries` [n, K] the rows of `table` [N, K] of the greatest products, less what each row's `cost` is. */
async function rank(
  queries: Tensor<"float32">,
  table: Tensor<"float32">,
  count: number,
  cost?: Float32Array,
): Promise<number[][]> {
  const products = network(({ queries, table }) => ({ scores: matmul(queries, table, { transB: true }) }), {
    device: "cpu",
    precision: "fp32",
  })
  const best: number[][] = []
  for (let at = 0; at < queries.shape[0]; at += batchSize) {
    const batch = rowsOf(queries, at, Math.min(at + batchSize, queries.shape[0]))
    const { scores } = await products.run({ queries: batch, table })
    const { data } = scores as Tensor<"float32">
    const rows = table.shape[0]
    for (let n = 0; n < batch.shape[0]; n++) {
      const row = data.subarray(n * rows, (n + 1) * rows)
      best.push(greatest(cost ? row.map((score, i) => score - cost[i]) : row, count))
    }
  }
  await products.close()
  return best
}

/** Places of the `count` greatest numbers, the greatest first; of equals the first. */
function greatest(numbers: Float32Array, count: number): number[] {
  const best: number[] = []
  for (let i = 0; i < numbers.length; i++) {
    if (best.length === count && numbers[i] <= numbers[best[count - 1]]) continue
    let at = best.length
    while (at > 0 && numbers[i] > numbers[best[at - 1]]) at--
    best.splice(at, 0, i)
    if (best.length > count) best.pop()
  }
  return best
}

/** Pictures as rows of numbers from 0 for white to -1: drawings are mostly white, so that sums stay small and exact. */
function pixelRows(pictures: readonly Pixels[]): Tensor<"float32"> {
  const width = pictures[0].data.length
  // Shared memory is read in place by the engine's thread, where a copy of a large table would be made at every run.
  const rows = new Float32Array(new SharedArrayBuffer(pictures.length * width * 4))
  for (const [n, { data }] of pictures.entries())
    for (let k = 0; k < width; k++) rows[n * width + k] = data[k] / 255 - 1
  return float32([pictures.length, width], rows)
}
