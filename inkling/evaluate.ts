import { join } from "node:path"
import { parseArgs } from "node:util"
import { writeFileAtomic } from "#platform"
import { formatTable } from "../src/cli/format.ts"
import { openScorer } from "../src/evaluation/match-score.ts"
import { UsageError } from "../src/ground/errors.ts"
import { load } from "../src/pipelines/load.ts"
import { numberFrom, runCommand } from "./command.ts"
import { commonConcepts, type Language, loadConcepts } from "./concepts.ts"
import { draw, drawOptions, mannerFrom } from "./draw.ts"
import { casesOf, type JudgeName, measure, type Report } from "./measure.ts"
import { embeddingJudge, openGallery, pixelJudge } from "./nearest.ts"
import type { Recall } from "./recall.ts"

// npx tsx --conditions=source inkling/evaluate.ts [--concepts 300] [--json models/inkling/evaluation.json]
//     [--drawings cache/inkling/drawings] [--model models/inkling] [--steps N] [--guidance X] [--scheduler NAME]
//
// Measures how often Inkling draws what it is asked for. Each of the most common concepts is asked for by two templates and two
// seeds in each language. A picture is right (top 1) where the training drawing nearest to it is of that concept, and right
// among five (top 5) where one of the five nearest is. "Nearest" is judged twice: by the cosine of the scorer's image embeddings,
// and by the mean squared error of the pixels, which needs nothing learnt. Beside it stand chance, which is what the same
// pictures reach with their prompts shuffled, and real drawings: each drawing of these concepts by the nearest other one.

const seeds = [1, 2]
const extremes = 12 // concepts printed of the best and of the worst

const titles: Readonly<Record<Language, string>> = { en: "English", zh: "Chinese" }

function percent(share: number): string {
  return `${(100 * share).toFixed(1)}%`
}

function tableOf({ languages, drawings }: Report): string {
  const cells = ({ top1, top5 }: Recall) => [percent(top1), percent(top5)]
  const rows = (Object.keys(languages) as Language[]).flatMap((language) =>
    (Object.keys(drawings) as JudgeName[]).map((judge) => {
      const found = languages[language].recall[judge]
      return [titles[language], judge, ...cells(found), ...cells(found.chance), ...cells(drawings[judge])]
    }),
  )
  const head = ["", "judge", "top 1", "top 5", "chance 1", "chance 5", "drawings 1", "drawings 5"]
  return formatTable([head, ...rows], [2, 3, 4, 5, 6, 7])
}

function conceptList(concepts: Report["concepts"]): string {
  return concepts.map(({ emoji, en, right, of }) => `${emoji} ${en} ${right}/${of}`).join(", ")
}

runCommand(async () => {
  const { values } = parseArgs({
    options: {
      ...drawOptions,
      concepts: { type: "string", default: "300" },
      drawings: { type: "string", default: "cache/inkling/drawings" },
      json: { type: "string" },
    },
  })
  const gallery = openGallery(values.drawings)
  const drawn = new Set(gallery.concepts)
  const known = loadConcepts().filter(({ id }) => drawn.has(id))
  const count = numberFrom(values.concepts, "--concepts") ?? 0
  if (!Number.isInteger(count) || count < 1)
    throw new UsageError("--concepts takes a whole number from 1 on.")
  const cases = casesOf(commonConcepts(known, count), seeds)

  const model = await load(values.model)
  const { pictures, manner } = await draw(model, cases, mannerFrom(values))
  await model.close()
  const scorer = await openScorer(values.model)
  const judges = { embedding: await embeddingJudge(gallery, scorer), pixels: pixelJudge(gallery) }
  const report = await measure(cases, pictures, { gallery, judges, scorer })
  await scorer.close()

  const { languages, concepts } = report
  console.log(tableOf(report))
  for (const [language, { matchScore, shuffledMatchScore }] of Object.entries(languages))
    console.log(
      `${titles[language as Language]} match score ${matchScore.toFixed(3)}, with prompts shuffled ${shuffledMatchScore.toFixed(3)}`,
    )
  console.log(`Best: ${conceptList(concepts.slice(0, extremes))}`)
  console.log(`Worst: ${conceptList(concepts.slice(-extremes).reverse())}`)
  const json = { concepts: concepts.length, seeds, ...manner, drawings: gallery.pictures.length, report }
  const path = values.json ?? join(values.model, "evaluation.json")
  await writeFileAtomic(path, [new TextEncoder().encode(`${JSON.stringify(json, null, 2)}\n`)])
})
