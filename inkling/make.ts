import { execFileSync } from "node:child_process"
import { cpSync, existsSync, readdirSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { train } from "../src/training/train.ts"

// npx tsx --conditions=source inkling/make.ts
// Makes Inkling again from the emoji packages: data, vocabulary, then the runs of inkling/recipe in order. Stopped at any
// moment, it goes on from where it was. On two cores the autoencoder and the towers take an hour and a half; the
// denoiser, as long as you let it.

const model = "models/inkling"
const recipes = "inkling/recipe"

/** The folders that a run teaches, by what it learns, and where they go. */
const partsOf = {
  autoencoder: { vae: join(model, "vae") },
  towers: { text_encoder: join(model, "text_encoder"), scorer: join(model, "scorer") },
  denoiser: { unet: join(model, "unet") },
  controlnet: { controlnet: "models/inkling-canny" },
} as const

const stop = new AbortController()
for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, () => stop.abort())

if (!existsSync("cache/inkling/train/meta.json")) script("make-dataset")
if (!existsSync("cache/inkling/things/meta.json"))
  script("make-dataset", "--out=cache/inkling/things", "--count=60000", "--seed=2", "--mixture=things")
if (!existsSync(join(model, "tokenizer", "vocab.json"))) script("make-vocabulary")

const number = (recipe: string) => Number.parseInt(recipe, 10)
for (const recipe of readdirSync(recipes).sort((a, b) => number(a) - number(b))) {
  const path = join(recipes, recipe)
  console.log(path)
  const { output } = await train(path, {
    signal: stop.signal,
    onProgress: (task, done, total) => progress(`${task}: ${done} of ${total}`),
    onStep: ({ step, steps, loss, samplesPerSecond }) =>
      progress(`step ${step} of ${steps}, loss ${loss.toFixed(4)}, ${samplesPerSecond.toFixed(1)} samples/s`),
  })
  const { learn } = JSON.parse(readFileSync(path, "utf8")) as { learn: keyof typeof partsOf }
  // The next run may go on from these.
  for (const [part, place] of Object.entries(partsOf[learn]))
    cpSync(join(output, part), place, { recursive: true })
  if (stop.signal.aborted) break
}

function progress(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r${line}\u001b[K`)
}

function script(name: string, ...args: string[]): void {
  execFileSync("npx", ["tsx", "--conditions=source", `inkling/${name}.ts`, ...args], { stdio: "inherit" })
}
