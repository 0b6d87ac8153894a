import { parseArgs } from "node:util"
import { load } from "../src/pipelines/load.ts"
import { numberFrom, runCommand } from "./command.ts"
import { draw, drawOptions, mannerFrom } from "./draw.ts"
import { drawPage, writePage } from "./page.ts"
import { heroOrders } from "./prompts.ts"

// npx tsx --conditions=source inkling/hero.ts [--out docs/images/inkling.png] [--candidates N]
//     [--model models/inkling] [--steps N] [--guidance X] [--scheduler NAME]
// Draws the strip of stickers at the top of the README; with --candidates, each of its prompts at seeds 1 to N, to choose from.

runCommand(async () => {
  const { values } = parseArgs({
    options: {
      ...drawOptions,
      out: { type: "string", default: "docs/images/inkling.png" },
      candidates: { type: "string" },
    },
  })
  const candidates = numberFrom(values.candidates, "--candidates")
  const orders =
    candidates === undefined
      ? heroOrders
      : heroOrders.flatMap(({ prompt }) =>
          Array.from({ length: candidates }, (_, i) => ({ prompt, seed: i + 1 })),
        )
  const model = await load(values.model)
  const { pictures } = await draw(model, orders, mannerFrom(values))
  await model.close()
  const cells = pictures.map((picture) => ({ picture }))
  const columns = candidates ?? cells.length
  const setting = { columns, pictureSide: 128, cellWidth: 144, cellHeight: 144, margin: 8, rules: false }
  await writePage(values.out, await drawPage(cells, setting))
  console.log(values.out)
})
