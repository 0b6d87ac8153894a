import { mkdirSync } from "node:fs"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { messageOf, UsageError } from "../src/ground/errors.ts"
import { tensor } from "../src/ground/tensor.ts"
import { captionerOf, usesOf } from "./captioner.ts"
import { canvasSize, composePicture, placeStamp } from "./compose.ts"
import { loadConcepts } from "./concepts.ts"
import { loadSprites, setVersion } from "./drawings.ts"
import { writeTensorFile, writeTextFile } from "./files.ts"
import type { Random } from "./random.ts"
import { randomFrom } from "./random.ts"
import type { ConceptUse, Kind, Mixture, Sketch } from "./scenes.ts"
import { decksFrom, drawSketch, kindsFor, mixtures, sketchOf } from "./scenes.ts"
import type { Sprite } from "./sprites.ts"
import { setNames } from "./sprites.ts"

/** Says what a sketch shows, in both languages. */
export type Captioner = (sketch: Sketch, random: Random) => { readonly en: string; readonly zh: string }

// npx tsx inkling/make-dataset.ts [--out cache/inkling/train] [--count 60000] [--seed 1] [--mixture everything]
// Makes the pictures and captions that Inkling learns from, and beside them each drawing alone.

/** How many of the most common concepts are dealt more often than the rest. */
const commonCount = 300

const pixelsPer = canvasSize * canvasSize * 3

/** The versions that the data come from. */
function packageVersions(): Record<string, string> {
  return Object.fromEntries(setNames.map((set) => [`@iconify-json/${set}`, setVersion(set)]))
}

/**
 * Writes `images.safetensors` (`pixels`, U8 [count, 64, 64, 3]), `captions.jsonl` (a line for each, in the same order) and
 * `meta.json` into a folder. The same seed and sprites give the same bytes.
 */
function writeDataset(
  folder: string,
  sprites: readonly Sprite[],
  use: (concept: string) => ConceptUse,
  captioner: Captioner,
  { count, seed, mixture }: { readonly count: number; readonly seed: number; readonly mixture: Mixture },
): void {
  const random = randomFrom(seed)
  // Words are drawn from a stream of their own: a new way to say things leaves the pictures as they were.
  const words = randomFrom(seed ^ 0x5eed)
  const decks = decksFrom(sprites, use, mixture, random)
  const kinds = kindsFor(count, mixture, random)
  const all = new Uint8Array(count * pixelsPer)
  const lines: string[] = []
  const made: Record<string, number> = Object.fromEntries(
    Object.keys(mixture.shares).map((kind) => [kind, 0]),
  )
  for (const [i, kind] of kinds.entries()) {
    const sketch = sketchOf(kind, decks, random)
    all.set(drawSketch(sketch, random).data, i * pixelsPer)
    const { en, zh } = captioner(sketch, words)
    lines.push(JSON.stringify({ captions: [en, zh], ...labelsOf(sketch) }))
    made[kind]++
  }
  mkdirSync(folder, { recursive: true })
  writeTensorFile(join(folder, "images.safetensors"), {
    pixels: tensor("uint8", [count, canvasSize, canvasSize, 3], all),
  })
  writeTextFile(join(folder, "captions.jsonl"), `${lines.join("\n")}\n`)
  const concepts = new Set(sprites.map((sprite) => sprite.concept)).size
  const meta = { count, seed, drawings: sprites.length, concepts, made, packages: packageVersions() }
  writeTextFile(join(folder, "meta.json"), `${JSON.stringify(meta, null, 2)}\n`)
}

function labelsOf({ kind, sprite, other }: Sketch): { concepts: string[]; set: string; kind: Kind } {
  return { concepts: other ? [sprite.concept, other.concept] : [sprite.concept], set: sprite.set, kind }
}

/**
 * Writes every drawing once, in the middle of white: `images.safetensors` as for a dataset, and `drawings.jsonl` with the
 * concept, set and name of each. What a generated picture is compared with.
 */
function writeDrawings(folder: string, sprites: readonly Sprite[]): void {
  const all = new Uint8Array(sprites.length * pixelsPer)
  const middle = canvasSize / 2
  for (const [i, sprite] of sprites.entries()) {
    const placement = placeStamp(sprite, middle, middle, 0.875 * canvasSize)
    all.set(composePicture([placement], [255, 255, 255]).data, i * pixelsPer)
  }
  mkdirSync(folder, { recursive: true })
  writeTensorFile(join(folder, "images.safetensors"), {
    pixels: tensor("uint8", [sprites.length, canvasSize, canvasSize, 3], all),
  })
  const lines = sprites.map(({ concept, set, name }) => JSON.stringify({ concept, set, name }))
  writeTextFile(join(folder, "drawings.jsonl"), `${lines.join("\n")}\n`)
}

function wholeNumber(text: string, option: string): number {
  if (!/^\d{1,9}$/.test(text)) throw new UsageError(`${option} takes a whole number, not "${text}".`)
  return Number(text)
}

function mixtureNamed(name: string): Mixture {
  if (Object.hasOwn(mixtures, name)) return mixtures[name as keyof typeof mixtures]
  throw new UsageError(`--mixture takes one of ${Object.keys(mixtures).join(", ")}, not "${name}".`)
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      out: { type: "string", default: "cache/inkling/train" },
      count: { type: "string", default: "60000" },
      seed: { type: "string", default: "1" },
      mixture: { type: "string", default: "everything" },
    },
  })
  const count = wholeNumber(values.count, "--count")
  const seed = wholeNumber(values.seed, "--seed")
  const mixture = mixtureNamed(values.mixture)
  const concepts = loadConcepts()
  const named = new Set(concepts.map(({ id }) => id))
  const cache = join(values.out, "..")
  const rendered = await loadSprites(cache, (set, n) => console.log(`Rendered ${n} drawings of ${set}.`))
  const sprites = rendered.filter(({ concept }) => named.has(concept))
  writeDrawings(join(cache, "drawings"), sprites)
  const started = performance.now()
  writeDataset(values.out, sprites, usesOf(concepts, commonCount), captionerOf(concepts), {
    count,
    seed,
    mixture,
  })
  const seconds = (performance.now() - started) / 1000
  console.log(
    `Wrote ${count} pictures from ${sprites.length} drawings to ${values.out} in ${seconds.toFixed(1)} s.`,
  )
}

main().catch((error: unknown) => {
  console.error(messageOf(error))
  process.exitCode = error instanceof UsageError ? 2 : 1
})
