// A sentence becomes a picture.
//   npx tsx --conditions=source examples/01-a-picture.ts [MODEL]

import { mkdirSync } from "node:fs"
import { load, textToImage } from "limn"

const model = await load(process.argv[2] ?? "models/inkling")
const { image, settings, timings } = await textToImage(model, { prompt: "a red heart", seed: 7 })

mkdirSync("out", { recursive: true })
await image.save("out/red-heart.png")
console.log(`out/red-heart.png: ${settings.width}x${settings.height}, ${settings.steps} steps`)
console.log(`denoised in ${Math.round(timings.denoise)} ms`)
