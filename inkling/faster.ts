import { parseArgs } from "node:util"
import { writeFileAtomic } from "#platform"
import { openScorer } from "../src/evaluation/match-score.ts"
import type { Pixels } from "../src/ground/image.ts"
import { load } from "../src/pipelines/load.ts"
import { runCommand } from "./command.ts"
import { commonConcepts, loadConcepts } from "./concepts.ts"
import { draw, drawOptions, mannerFrom } from "./draw.ts"
import { casesOf } from "./measure.ts"
import type { Judge } from "./nearest.ts"
import { embeddingJudge, openGallery, pixelJudge } from "./nearest.ts"
import { drawPage, writePage } from "./page.ts"
import { recall } from "./recall.ts"

// npx tsx --conditions=source inkling/faster.ts [--out docs/images/inkling-faster.png] [--json bench/results/faster.json]
//     [--drawings cache/inkling/drawings] [--model models/inkling] [--steps N] [--guidance X] [--scheduler NAME]
//
// Draws 64 prompts (16 common concepts, two templates, both languages) in fp32, and from the same seeds in each of limn's
// faster and less exact ways, and says how far the pictures are from those in fp32 (PSNR), how often each shows what was asked
// for, as evaluate.ts judges it, and how long they took. The page shows eight of them, each way in a row.

const concepts = 16
const shown = 8

const ways: readonly {
  readonly name: string
  readonly precision?: "int8"
  readonly cacheInterval?: number
}[] = [
  { name: "fp32" },
  { name: "int8", precision: "int8" },
  { name: "cache interval 2", cacheInterval: 2 },
  { name: "cache interval 3", cacheInterval: 3 },
  { name: "cache interval 5", cacheInterval: 5 },
]

/** In decibels; equal pictures are infinitely near. */
function psnr(a: Pixels, b: Pixels): number {
  const error = a.data.reduce((sum, value, i) => sum + (value - b.data[i]) ** 2, 0) / a.data.length
  return 10 * Math.log10(255 ** 2 / error)
}

runCommand(async () => {
  const { values } = parseArgs({
    options: {
      ...drawOptions,
      out: { type: "string", default: "docs/images/inkling-faster.png" },
      json: { type: "string", default: "bench/results/faster.json" },
      drawings: { type: "string", default: "cache/inkling/drawings" },
    },
  })
  const gallery = openGallery(values.drawings)
  const drawn = new Set(gallery.concepts)
  const cases = casesOf(
    commonConcepts(
      loadConcepts().filter(({ id }) => drawn.has(id)),
      concepts,
    ),
    [1],
  )
  const scorer = await openScorer(values.model)
  const judges = { pixels: pixelJudge(gallery), embedding: await embeddingJudge(gallery, scorer) }
  const wanted = cases.map(({ concept }) => concept.id)
  const recallBy = async (judge: Judge, pictures: readonly Pixels[]) => {
    const near = await judge.nearest(pictures, 5)
    return recall(
      wanted,
      near.map((places) => places.map((place) => gallery.concepts[place])),
    )
  }
  const results = []
  for (const { name, precision = "fp32", cacheInterval } of ways) {
    const model = await load(values.model, { device: "cpu", precision })
    const { pictures, msEach } = await draw(model, cases, { ...mannerFrom(values), cacheInterval })
    await model.close()
    const pixels = await recallBy(judges.pixels, pictures)
    results.push({ name, pictures, msEach, pixels, embedding: await recallBy(judges.embedding, pictures) })
  }
  await scorer.close()

  const [exact] = results
  const rows = results.map(({ name, pictures, msEach, pixels, embedding }) => {
    const distances = pictures.map((picture, i) => psnr(exact.pictures[i], picture)).sort((a, b) => a - b)
    const at = (share: number) => Number(distances[Math.floor(share * (distances.length - 1))].toFixed(1))
    const apart = name === exact.name ? {} : { psnr: { least: at(0), tenth: at(0.1), median: at(0.5) } }
    return { name, msEach: Math.round(msEach), ...apart, pixels, embedding }
  })
  const report = { pictures: cases.length, rows }
  console.log(JSON.stringify(report, null, 2))
  await writeFileAtomic(values.json, [new TextEncoder().encode(`${JSON.stringify(report, null, 2)}\n`)])

  const step = Math.floor(cases.length / shown)
  const cells = results.flatMap(({ name, pictures }, row) =>
    Array.from({ length: shown }, (_, i) => ({
      picture: pictures[i * step],
      text: row === 0 ? cases[i * step].prompt : name,
    })),
  )
  const setting = {
    columns: shown,
    pictureSide: 128,
    cellWidth: 144,
    cellHeight: 178,
    margin: 8,
    rules: false,
  }
  await writePage(values.out, await drawPage(cells, setting))
})
