import { parseArgs } from "node:util"
import { load } from "../src/pipelines/load.ts"
import { runCommand } from "./command.ts"
import { draw, drawOptions, mannerFrom } from "./draw.ts"
import { drawPage, writePage } from "./page.ts"
import { heroOrders } from "./prompts.ts"

// npx tsx --conditions=source inkling/hero.ts [--out docs/images/inkling.png]
//     [--model models/inkling] [--steps N] [--guidance X] [--scheduler NAME]
// Draws the strip of stickers at the top of the README.

runCommand(async () => {
  const { values } = parseArgs({
    options: { ...drawOptions, out: { type: "string", default: "docs/images/inkling.png" } },
  })
  const model = await load(values.model)
  const { pictures } = await draw(model, heroOrders, mannerFrom(values))
  await model.close()
  const cells = pictures.map((picture) => ({ picture }))
  const setting = {
    columns: cells.length,
    pictureSide: 128,
    cellWidth: 144,
    cellHeight: 144,
    margin: 8,
    rules: false,
  }
  await writePage(values.out, await drawPage(cells, setting))
  console.log(values.out)
})
