import { parseArgs } from "node:util"
import { load } from "../src/pipelines/load.ts"
import { runCommand } from "./command.ts"
import { draw, drawOptions, mannerFrom } from "./draw.ts"
import { drawPage, writePage } from "./page.ts"
import { sheetOrders } from "./prompts.ts"

// npx tsx --conditions=source inkling/sheet.ts [--out docs/images/inkling-sheet.png]
//     [--model models/inkling] [--steps N] [--guidance X] [--scheduler NAME]
// Draws the 24 prompts of prompts.ts at their seeds and puts them on one sheet.
// Needs a font with Chinese characters, such as Debian's fonts-noto-cjk.

runCommand(async () => {
  const { values } = parseArgs({
    options: { ...drawOptions, out: { type: "string", default: "docs/images/inkling-sheet.png" } },
  })
  const model = await load(values.model)
  const { pictures } = await draw(model, sheetOrders, mannerFrom(values))
  await model.close()
  const cells = pictures.map((picture, i) => ({ picture, text: sheetOrders[i].prompt }))
  const setting = { columns: 6, pictureSide: 128, cellWidth: 160, cellHeight: 184, margin: 12, rules: true }
  await writePage(values.out, await drawPage(cells, setting))
  console.log(values.out)
})
