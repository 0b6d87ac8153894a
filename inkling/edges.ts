import { parseArgs } from "node:util"
import { writeFileAtomic } from "#platform"
import { cannyEdges } from "../src/ground/canny.ts"
import type { Pixels } from "../src/ground/image.ts"
import { pixels } from "../src/ground/image.ts"
import { controlNet } from "../src/pipelines/controlnet.ts"
import { load } from "../src/pipelines/load.ts"
import { textToImage } from "../src/pipelines/text-to-image.ts"
import { runCommand } from "./command.ts"
import { commonConcepts, loadConcepts } from "./concepts.ts"
import { drawOptions, mannerFrom } from "./draw.ts"
import { asObject, withoutColour } from "./english.ts"
import { mean } from "./measure.ts"
import { openGallery } from "./nearest.ts"
import { drawPage, writePage } from "./page.ts"

// npx tsx --conditions=source inkling/edges.ts [--out docs/images/inkling-edges.png] [--json models/inkling-canny/evaluation.json]
//     [--control models/inkling-canny] [--drawings cache/inkling/drawings]
//     [--model models/inkling] [--steps N] [--guidance X] [--scheduler NAME]
//
// How well Inkling's ControlNet follows edges: those of 64 drawings of common things, mirrored, which it was never shown so.
// The number is the share of the edges' pixels that lie at most a pixel from an edge of what was drawn, with the ControlNet
// and, from the same seeds, without. The page shows eight: the edges, what their own names make of them, what the same in blue
// does, and the names alone.

const asked = 64
const shown = [2, 10, 18, 26, 34, 42, 50, 58]

function mirrored({ data, width, height, channels }: Pixels): Pixels {
  const result = new Uint8Array(data.length)
  for (let i = 0; i < data.length; i++) {
    const [pixel, channel] = [Math.floor(i / channels), i % channels]
    const [y, x] = [Math.floor(pixel / width), pixel % width]
    result[(y * width + width - 1 - x) * channels + channel] = data[i]
  }
  return pixels(width, height, channels, result)
}

/** The share of the pixels of some edges that lie at most a pixel from one of the others. */
function followed(edges: Pixels, drawn: Pixels): number {
  const { width, height, channels } = edges
  const isEdge = ({ data }: Pixels, x: number, y: number) => data[(y * width + x) * channels] > 0
  let [all, near] = [0, 0]
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      if (!isEdge(edges, x, y)) continue
      all++
      const around = [-1, 0, 1].flatMap((dy) => [-1, 0, 1].map((dx) => [x + dx, y + dy]))
      const inside = around.filter(([a, b]) => a >= 0 && a < width && b >= 0 && b < height)
      if (inside.some(([a, b]) => isEdge(drawn, a, b))) near++
    }
  return all === 0 ? 1 : near / all
}

runCommand(async () => {
  const { values } = parseArgs({
    options: {
      ...drawOptions,
      control: { type: "string", default: "models/inkling-canny" },
      out: { type: "string", default: "docs/images/inkling-edges.png" },
      json: { type: "string", default: "models/inkling-canny/evaluation.json" },
      drawings: { type: "string", default: "cache/inkling/drawings" },
    },
  })
  const gallery = openGallery(values.drawings)
  const concepts = commonConcepts(loadConcepts(), asked)
  const cases = concepts.map(({ id, en }, i) => {
    const own = [...gallery.concepts.keys()].filter((place) => gallery.concepts[place] === id)
    const drawing = mirrored(gallery.pictures[own[i % own.length]])
    return {
      prompt: asObject(en, en, () => 0),
      name: withoutColour(en) ?? en,
      edges: cannyEdges(drawing),
      seed: i + 1,
    }
  })

  const plain = await load(values.model, { device: "cpu" })
  const model = await plain.with(controlNet(values.control))
  const manner = mannerFrom(values)
  const draw = async (prompt: string, seed: number, edges?: Pixels) => {
    const controls = edges && [{ image: edges }]
    return (await textToImage(edges ? model : plain, { ...manner, prompt, seed, controls })).image.pixels
  }
  const shares = { with: [] as number[], without: [] as number[] }
  const rows: Pixels[][] = [[], [], [], []]
  for (const [i, { prompt, name, edges, seed }] of cases.entries()) {
    const [controlled, free] = [await draw(prompt, seed, edges), await draw(prompt, seed)]
    shares.with.push(followed(edges, cannyEdges(controlled)))
    shares.without.push(followed(edges, cannyEdges(free)))
    if (!shown.includes(i)) continue
    const blue = await draw(`a blue ${name}`, seed, edges)
    for (const [row, picture] of [edges, controlled, blue, free].entries()) rows[row].push(picture)
  }
  await model.close()
  await plain.close()

  const share = (all: readonly number[]) => Number(mean(all).toFixed(3))
  const report = { pictures: asked, followed: share(shares.with), without: share(shares.without) }
  console.log(report)
  await writeFileAtomic(values.json, [new TextEncoder().encode(`${JSON.stringify(report, null, 2)}\n`)])
  const texts = [
    () => "edges",
    (i: number) => cases[i].prompt,
    (i: number) => `a blue ${cases[i].name}`,
    () => "without",
  ]
  const cells = rows.flatMap((row, r) => row.map((picture, k) => ({ picture, text: texts[r](shown[k]) })))
  const setting = { pictureSide: 112, cellWidth: 132, cellHeight: 162, margin: 8, rules: false }
  await writePage(values.out, await drawPage(cells, { columns: shown.length, ...setting }))
})
