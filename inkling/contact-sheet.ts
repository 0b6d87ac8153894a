import { readFileSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import sharp from "sharp"
import { UsageError } from "../src/ground/errors.ts"
import { canvasSize } from "./compose.ts"
import { readBytesTensor } from "./files.ts"
import { pick, randomFrom } from "./random.ts"

// npx tsx inkling/contact-sheet.ts [--data cache/inkling/train] [--out cache/inkling/sheet.png] [--seed 1] [--kind counted]
// Draws random samples of a dataset, of one kind or of all, side by side and prints their captions, row by row.

const columns = 8
const rows = 12

const { values } = parseArgs({
  options: {
    data: { type: "string", default: "cache/inkling/train" },
    out: { type: "string", default: "cache/inkling/sheet.png" },
    seed: { type: "string", default: "1" },
    kind: { type: "string" },
  },
})
const { data } = readBytesTensor(join(values.data, "images.safetensors"), "pixels")

interface Line {
  readonly captions: readonly string[]
  readonly set: string
  readonly kind: string
}

const samples = readFileSync(join(values.data, "captions.jsonl"), "utf8")
  .trim()
  .split("\n")
  .map((line, index) => ({ index, ...(JSON.parse(line) as Line) }))
  .filter(({ kind }) => values.kind === undefined || kind === values.kind)
if (samples.length === 0)
  throw new UsageError(`No sample is of the kind "${values.kind}": see scenes.ts for the kinds.`)
const random = randomFrom(Number(values.seed))
const rowBytes = canvasSize * 3
const sheet = new Uint8Array(rows * columns * canvasSize * rowBytes)
for (let cell = 0; cell < rows * columns; cell++) {
  const [row, column] = [Math.floor(cell / columns), cell % columns]
  const { index, captions, set } = pick(random, samples)
  for (let y = 0; y < canvasSize; y++) {
    const from = (index * canvasSize + y) * rowBytes
    sheet.set(data.subarray(from, from + rowBytes), ((row * canvasSize + y) * columns + column) * rowBytes)
  }
  process.stdout.write(`${row + 1},${column + 1}  ${captions.join("  |  ")}  (${set})\n`)
}
await sharp(sheet, { raw: { width: columns * canvasSize, height: rows * canvasSize, channels: 3 } })
  .png()
  .toFile(values.out)
