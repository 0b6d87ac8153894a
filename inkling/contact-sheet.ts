import { readFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import sharp from "sharp"
import { canvasSize } from "./compose.ts"
import { readBytesTensor } from "./files.ts"
import { randomFrom } from "./random.ts"

// npx tsx inkling/contact-sheet.ts [--data cache/inkling/train] [--out cache/inkling/sheet.png] [--seed 1]
// Draws random samples of a dataset side by side and prints their captions, row by row.

const columns = 8
const rows = 12

const { values } = parseArgs({
  options: {
    data: { type: "string", default: "cache/inkling/train" },
    out: { type: "string", default: "cache/inkling/sheet.png" },
    seed: { type: "string", default: "1" },
  },
})
const { data, shape } = readBytesTensor(join(values.data, "images.safetensors"), "pixels")
const captions = readFileSync(join(values.data, "captions.jsonl"), "utf8").trim().split("\n")
const random = randomFrom(Number(values.seed))
const rowBytes = canvasSize * 3
const sheet = new Uint8Array(rows * columns * canvasSize * rowBytes)
for (let cell = 0; cell < rows * columns; cell++) {
  const [row, column] = [Math.floor(cell / columns), cell % columns]
  const sample = Math.floor(random() * shape[0])
  for (let y = 0; y < canvasSize; y++) {
    const from = (sample * canvasSize + y) * rowBytes
    sheet.set(data.subarray(from, from + rowBytes), ((row * canvasSize + y) * columns + column) * rowBytes)
  }
  const { en, zh, set } = JSON.parse(captions[sample]) as { en: string; zh: string; set: string }
  process.stdout.write(`${row + 1},${column + 1}  ${en}  |  ${zh}  (${set})\n`)
}
await sharp(sheet, { raw: { width: columns * canvasSize, height: rows * canvasSize, channels: 3 } })
  .png()
  .toFile(values.out)
