import { execFileSync } from "node:child_process"
import { cpSync, existsSync } from "node:fs"
import { join } from "node:path"
import { train } from "../src/training/train.ts"

// npx tsx --conditions=source inkling/make.ts
// Makes Inkling again from the emoji packages: data, vocabulary, then the three runs of inkling/recipe. Stopped at any
// moment, it goes on from where it was. On two cores the first two runs take half an hour; the third, as long as you let it.

const model = "models/inkling"
const runs = "cache/inkling/runs"

/** The runs in order, and the parts of the model that each of them teaches. */
const stages = [
  { recipe: "inkling/recipe/1-autoencoder.json", run: "autoencoder", parts: ["vae"] },
  { recipe: "inkling/recipe/2-towers.json", run: "towers", parts: ["text_encoder", "scorer"] },
  { recipe: "inkling/recipe/3-denoiser.json", run: "denoiser", parts: ["unet"] },
]

const stop = new AbortController()
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort())

if (!existsSync("cache/inkling/train/meta.json")) script("make-dataset")
if (!existsSync(join(model, "tokenizer", "vocab.json"))) script("make-vocabulary")

for (const { recipe, run, parts } of stages) {
  console.log(recipe)
  await train(recipe, {
    signal: stop.signal,
    onProgress: (task, done, total) => progress(`${task}: ${done} of ${total}`),
    onStep: ({ step, steps, loss, samplesPerSecond }) =>
      progress(`step ${step} of ${steps}, loss ${loss.toFixed(4)}, ${samplesPerSecond.toFixed(1)} samples/s`),
  })
  for (const part of parts) cpSync(join(runs, run, part), join(model, part), { recursive: true })
  if (stop.signal.aborted) break
}

function progress(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${line}\u001b[K`)
}

function script(name: string): void {
  execFileSync("npx", ["tsx", "--conditions=source", `inkling/${name}.ts`], { stdio: "inherit" })
}
