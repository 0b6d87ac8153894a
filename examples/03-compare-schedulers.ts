// One prompt, one seed, few steps: which scheduler comes closest to where many steps lead?
//   npx tsx --conditions=source examples/03-compare-schedulers.ts [MODEL]

import { mkdirSync } from "node:fs"
import { load, textToImage } from "limn"

const model = await load(process.argv[2] ?? "models/inkling")
const asked = { prompt: "a cat face", seed: 7 }
const { image: goal } = await textToImage(model, { ...asked, steps: 100, scheduler: "ddim" })

mkdirSync("out", { recursive: true })
for (const scheduler of ["ddim", "pndm", "euler", "DPM++ 2M", "DPM++ 2M Karras"]) {
  const { image, timings } = await textToImage(model, { ...asked, steps: 10, scheduler })
  const name = `out/${scheduler.toLowerCase().replace(/\W+/g, "-")}.png`
  await image.save(name)
  const off = image.pixels.data.reduce((sum, v, i) => sum + Math.abs(v - goal.pixels.data[i]), 0)
  const mean = (off / image.pixels.data.length).toFixed(1)
  console.log(
    `${scheduler.padEnd(16)} ${mean.padStart(5)} of 255 off, ${Math.round(timings.denoise)} ms  ${name}`,
  )
}
