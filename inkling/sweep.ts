import { parseArgs } from "node:util"
import { matchScores, openScorer } from "../src/evaluation/match-score.ts"
import type { Tensor } from "../src/ground/tensor.ts"
import { load } from "../src/pipelines/load.ts"
import { numberFrom, runCommand } from "./command.ts"
import { commonConcepts, loadConcepts } from "./concepts.ts"
import { draw, drawOptions, type Manner } from "./draw.ts"
import { embeddingJudge, type Judge, openGallery, pixelJudge } from "./nearest.ts"
import { composed, type Order, templates } from "./prompts.ts"
import { recall } from "./recall.ts"

// npx tsx --conditions=source inkling/sweep.ts [--guidance 1,2,3,4,6,8] [--steps 25] [--scheduler DDIM,euler]
//     [--drawings cache/inkling/drawings] [--model models/inkling]
//
// Draws 60 prompts in every combination of these lists, to choose the defaults by. A line for each combination says
//   match    mean cosine of a picture and its prompt
//   own      how often a picture matches its own prompt better than the 59 others
//   pixels   how often the nearest drawing by mean squared error is of the right thing, for the 48 prompts that name one
//   scorer   the same by the cosine of the scorer's image embeddings
//   ms       milliseconds for a picture

const plainConcepts = 24
const columns = ["scheduler", "steps", "guidance", "match", "own", "pixels", "scorer", "ms"]

function line(cells: readonly string[]): string {
  return cells.map((cell, i) => (i === 0 ? cell.padEnd(28) : cell.padStart(9))).join("")
}

function mannersFrom(values: Readonly<Partial<Record<keyof typeof drawOptions, string>>>): Manner[] {
  const list = (text: string | undefined) => text?.split(",") ?? [undefined]
  return list(values.scheduler).flatMap((scheduler) =>
    list(values.steps).flatMap((steps) =>
      list(values.guidance).map((guidance) => ({
        scheduler,
        steps: numberFrom(steps, "--steps"),
        guidanceScale: numberFrom(guidance, "--guidance"),
      })),
    ),
  )
}

/** Share of the pictures [n, P] whose own text [n, P] is the best match of all. */
function ownShare(images: Tensor<"float32">, texts: Tensor<"float32">): number {
  const [count, width] = images.shape
  let own = 0
  for (let n = 0; n < count; n++) {
    const scores = Array.from({ length: count }, (_, t) => {
      let sum = 0
      for (let k = 0; k < width; k++) sum += images.data[n * width + k] * texts.data[t * width + k]
      return sum
    })
    if (scores.indexOf(Math.max(...scores)) === n) own++
  }
  return own / count
}

runCommand(async () => {
  const { values } = parseArgs({
    options: {
      ...drawOptions,
      guidance: { type: "string", default: "1,2,3,4,6,8" },
      steps: { type: "string", default: "25" },
      drawings: { type: "string", default: "cache/inkling/drawings" },
    },
  })
  const concepts = commonConcepts(loadConcepts(), plainConcepts)
  const wanted = concepts.flatMap(({ id }) => [id, id])
  const prompts = [
    ...concepts.flatMap((concept) => [templates.en[0](concept), templates.zh[0](concept)]),
    ...composed.en,
    ...composed.zh,
  ]
  const orders: Order[] = prompts.map((prompt, i) => ({ prompt, seed: i + 1 }))

  const model = await load(values.model)
  const scorer = await openScorer(values.model)
  const texts = await scorer.textEmbeddings(prompts)
  const gallery = openGallery(values.drawings)
  const judges = [pixelJudge(gallery), await embeddingJudge(gallery, scorer)]

  console.log(line(columns))
  for (const asked of mannersFrom(values)) {
    const { pictures, manner, msEach } = await draw(model, orders, asked)
    const images = await scorer.imageEmbeddings(pictures)
    const scores = matchScores(images, texts)
    const rightBy = async (judge: Judge) => {
      const near = await judge.nearest(pictures.slice(0, wanted.length), 1)
      const found = near.map((places) => places.map((place) => gallery.concepts[place]))
      return recall(wanted, found).top1
    }
    console.log(
      line([
        manner.scheduler,
        String(manner.steps),
        String(manner.guidanceScale),
        (scores.reduce((sum, score) => sum + score, 0) / scores.length).toFixed(3),
        ownShare(images, texts).toFixed(3),
        (await rightBy(judges[0])).toFixed(3),
        (await rightBy(judges[1])).toFixed(3),
        msEach.toFixed(0),
      ]),
    )
  }
  await Promise.all([model.close(), scorer.close()])
})
