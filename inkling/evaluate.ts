import { join } from "node:path"
import { parseArgs } from "node:util"
import { writeFileAtomic } from "#platform"
import { formatTable } from "../src/cli/format.ts"
import { openScorer } from "../src/evaluation/match-score.ts"
import { UsageError } from "../src/ground/errors.ts"
import { load } from "../src/pipelines/load.ts"
import { numberFrom, runCommand } from "./command.ts"
import { commonConcepts, loadConcepts } from "./concepts.ts"
import { draw, drawOptions, mannerFrom } from "./draw.ts"
import type { ByJudge, Report } from "./measure.ts"
import { casesOf, measure } from "./measure.ts"
import { embeddingJudge, openGallery, pixelJudge } from "./nearest.ts"
import type { Recall } from "./recall.ts"
import { plainPictures } from "./training-pictures.ts"

// npx tsx --conditions=source inkling/evaluate.ts [--concepts 300] [--json models/inkling/evaluation.json]
//     [--drawings cache/inkling/drawings] [--data cache/inkling/train]
//     [--model models/inkling] [--steps N] [--guidance X] [--scheduler NAME]
//
// Measures how often Inkling draws what it is asked for. Each of the most common concepts is asked for by two templates and two
// seeds in each language. A picture is right (top 1) where the training drawing nearest to it is of that concept, and right
// among five (top 5) where one of the five nearest is. "Nearest" is judged twice: by the mean squared error of the pixels, which
// needs nothing learnt, and by the cosine of the scorer's image embeddings. Beside it stand
//   prompts shuffled    chance: the same pictures, each with any of the prompts
//   training pictures   the judge's own limit: 1,000 plain pictures that the model was trained on
//   other drawings      each drawing of these concepts by the drawing nearest to it: how far the four sets agree

const seeds = [1, 2]
const trainingCount = 1000
const extremes = 12 // concepts printed of the best and of the worst

function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`
}

function tableOf({ languages, training, drawings }: Report): string {
  const row = (title: string, { pixels, embedding }: ByJudge<Recall>, score?: number) => {
    const shares = [pixels.top1, pixels.top5, embedding.top1, embedding.top5].map(percent)
    return [title, ...shares, score?.toFixed(3) ?? ""]
  }
  const rows = (["en", "zh"] as const).flatMap((language) => {
    const { recall, matchScore, shuffledMatchScore } = languages[language]
    const shuffled = { pixels: recall.pixels.chance, embedding: recall.embedding.chance }
    return [
      row(language === "en" ? "English" : "Chinese", recall, matchScore),
      row("  prompts shuffled", shuffled, shuffledMatchScore),
    ]
  })
  return formatTable(
    [
      ["", "pixels top 1", "top 5", "embedding top 1", "top 5", "match score"],
      ...rows,
      row("training pictures", training),
      row("other drawings", drawings),
    ],
    [1, 2, 3, 4, 5],
  )
}

function listOf(concepts: Report["concepts"]): string {
  return concepts.map(({ emoji, en, right, of }) => `${emoji} ${en} ${right}/${of}`).join(", ")
}

runCommand(async () => {
  const { values } = parseArgs({
    options: {
      ...drawOptions,
      concepts: { type: "string", default: "300" },
      drawings: { type: "string", default: "cache/inkling/drawings" },
      data: { type: "string", default: "cache/inkling/train" },
      json: { type: "string" },
    },
  })
  const count = numberFrom(values.concepts, "--concepts") ?? 0
  if (!Number.isInteger(count) || count < 1)
    throw new UsageError("--concepts takes a whole number from 1 on.")
  const gallery = openGallery(values.drawings)
  const drawn = new Set(gallery.concepts)
  const asked = commonConcepts(
    loadConcepts().filter(({ id }) => drawn.has(id)),
    count,
  )
  const training = await plainPictures(values.data, new Set(asked.map(({ id }) => id)), trainingCount)
  const cases = casesOf(asked, seeds)

  const model = await load(values.model)
  const { pictures, manner } = await draw(model, cases, mannerFrom(values))
  await model.close()
  const scorer = await openScorer(values.model)
  const judges = { pixels: pixelJudge(gallery), embedding: await embeddingJudge(gallery, scorer) }
  const report = await measure(cases, pictures, { gallery, training, judges, scorer })
  await scorer.close()

  const { concepts } = report
  console.log(tableOf(report))
  console.log(`\nBest: ${listOf(concepts.slice(0, extremes))}`)
  console.log(`Worst: ${listOf(concepts.slice(-extremes).reverse())}`)
  const json = { asked: concepts.length, seeds, ...manner, ...report }
  const path = values.json ?? join(values.model, "evaluation.json")
  await writeFileAtomic(path, [new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`)])
})
