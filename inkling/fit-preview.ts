import { existsSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { cpuGenerator } from "../src/ground/random/cpu-generator.ts"
import { readJson } from "../src/pipelines/files.ts"
import { load } from "../src/pipelines/load.ts"
import { runCommand } from "./command.ts"
import { writeTextFile } from "./files.ts"
import { fitPreview } from "./preview-fit.ts"

// npx tsx --conditions=source inkling/fit-preview.ts [--model models/inkling]
// Finds by which linear map a model's latents show best as colours, and writes it into the limn.json of its folder. To
// be run again whenever its autoencoder has learnt.

runCommand(async () => {
  const { values } = parseArgs({ options: { model: { type: "string", default: "models/inkling" } } })
  const path = join(values.model, "limn.json")
  const said = existsSync(path) ? await readJson(path) : {}
  const model = await load(values.model)
  const { factors, error } = await fitPreview(model, model.vaeConfig.latentChannels, cpuGenerator(1))
  await model.close()
  writeTextFile(path, `${JSON.stringify({ ...(said as object), preview: factors })}\n`)
  console.log(`${path}  misses ${(100 * error).toFixed(0)}% of the decoder's deviation`)
})
