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

// npx tsx --conditions=source inkling/int8.ts [--out docs/images/inkling-int8.png] [--json bench/results/int8.json]
//     [--drawings cache/inkling/drawings] [--model models/inkling] [--steps N] [--guidance X] [--scheduler NAME]
//
// Draws 64 prompts (16 common concepts, two templates, both languages) in fp32 and in int8 from the same seeds, and says how
// far the pictures are apart (PSNR) and how often each shows what was asked for, as evaluate.ts judges it. The page shows
// eight of them, fp32 above int8.

const concepts = 16
const shown = 8

/** In decibels; equal pictures are infinitely near. */
function psnr(a: Pixels, b: Pixels): number {
  const error = a.data.reduce((sum, value, i) => sum + (value - b.data[i]) ** 2, 0) / a.data.length
  return 10 * Math.log10(255 ** 2 / error)
}

runCommand(async () => {
  const { values } = parseArgs({
    options: {
      ...drawOptions,
      out: { type: "string", default: "docs/images/inkling-int8.png" },
      json: { type: "string", default: "bench/results/int8.json" },
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
  const drawnIn = async (precision: "fp32" | "int8") => {
    const model = await load(values.model, { device: "cpu", precision })
    const { pictures, msEach } = await draw(model, cases, mannerFrom(values))
    await model.close()
    const pixels = await recallBy(judges.pixels, pictures)
    return { pictures, msEach, pixels, embedding: await recallBy(judges.embedding, pictures) }
  }
  const full = await drawnIn("fp32")
  const int8 = await drawnIn("int8")
  await scorer.close()

  const distances = full.pictures.map((picture, i) => psnr(picture, int8.pictures[i])).sort((a, b) => a - b)
  const at = (share: number) => Number(distances[Math.floor(share * (distances.length - 1))].toFixed(1))
  const report = {
    pictures: cases.length,
    psnr: { least: at(0), tenth: at(0.1), median: at(0.5), most: at(1) },
    fp32: { msEach: Math.round(full.msEach), pixels: full.pixels, embedding: full.embedding },
    int8: { msEach: Math.round(int8.msEach), pixels: int8.pixels, embedding: int8.embedding },
  }
  console.log(JSON.stringify(report, null, 2))
  await writeFileAtomic(values.json, [new TextEncoder().encode(`${JSON.stringify(report, null, 2)}\n`)])

  const step = Math.floor(cases.length / shown)
  const cells = [full, int8].flatMap(({ pictures }, row) =>
    Array.from({ length: shown }, (_, i) => ({
      picture: pictures[i * step],
      text: row === 0 ? cases[i * step].prompt : "int8",
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
