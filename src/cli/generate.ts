import { dirname } from "node:path"
import { fileURLToPath } from "node:url"
import { makeFolder, peakMemoryBytes } from "#platform"
import { UsageError } from "../ground/errors.ts"
import type { DenoiseStep } from "../pipelines/denoise.ts"
import type { DrawResult, Timings } from "../pipelines/draw.ts"
import type { Image } from "../pipelines/image.ts"
import { load } from "../pipelines/load.ts"
import type { TextToImageOptions } from "../pipelines/text-to-image.ts"
import { textToImage } from "../pipelines/text-to-image.ts"
import { formatDuration } from "./format.ts"
import { interruption } from "./interruption.ts"
import { openPlace, shownPath } from "./places.ts"
import { previewKind, previewText } from "./preview.ts"
import { progressOn } from "./progress.ts"
import { readPrompts } from "./prompts.ts"

/** What `limn [PROMPT...]` can be told. */
export interface GenerateOptions {
  readonly model?: string
  readonly out?: string
  readonly negative?: string
  readonly seed?: bigint
  readonly steps?: number
  readonly guidance?: number
  readonly width?: number
  readonly height?: number
  readonly scheduler?: string
  readonly images?: number
  readonly device?: "auto" | "cpu" | "webgpu" | "cuda"
  readonly precision?: "auto" | "fp32" | "fp16"
  readonly json?: boolean
  readonly quiet?: boolean
}

/** The model that comes with limn, seen from `src/cli` as from `dist/cli`. */
const inkling = fileURLToPath(new URL("../../models/inkling", import.meta.url))

/** A step takes seconds on large models; Ctrl-C does not wait that long. */
const PATIENCE_MS = 300

/** Draws every prompt as many times as asked, one picture after the other, each written as soon as it is there. */
export async function generate(words: readonly string[], options: GenerateOptions): Promise<void> {
  const { device, precision, json = false, quiet = false } = options
  const prompts = await readPrompts(words)
  const orders = ordersOf(prompts, options)
  const place = openPlace(options.out, orders.length)
  const progress = progressOn(process.stderr, { quiet })
  const stop = interruption(() => {
    progress.clear()
    return PATIENCE_MS
  })

  const done: Done[] = []
  const onStep = ({ step, steps }: DenoiseStep) => {
    const label = orders.length === 1 ? "drawing" : `drawing ${done.length + 1} of ${orders.length}`
    const note = step === steps ? "decoding" : undefined
    progress.show({ label, done: done.length * steps + step, total: orders.length * steps, note })
  }
  try {
    progress.show({ label: "loading" })
    const model = await load(options.model ?? inkling, { device, precision })
    for (const order of orders) {
      const asked = { ...settingsOf(options), ...order }
      const result = await textToImage(model, { ...asked, signal: stop.signal, onStep })
      const path = place.next(order.prompt, order.seed)
      await makeFolder(dirname(path))
      await stop.protect(() => result.image.save(path))
      const { settings, timings, warnings } = result
      done.push({ file: shownPath(path), seed: order.seed, settings, timings, warnings })
      progress.clear()
      if (!json && !quiet) printPicture(done[done.length - 1], result.image)
    }
    if (json) console.log(JSON.stringify(summary(model.loadMs, prompts, done), bigintAsText, 2))
  } catch (error) {
    progress.clear()
    if (stop.signal.aborted) return stop.end()
    throw error
  }
}

/** Each picture of a prompt has a seed of its own, which makes it again alone. */
function ordersOf(prompts: readonly string[], { images = 1, seed }: GenerateOptions) {
  if (!Number.isInteger(images) || images < 1)
    throw new UsageError(`--images is ${images}; give a whole number from 1 on.`)
  const first = seed ?? BigInt(crypto.getRandomValues(new Uint32Array(1))[0])
  const seeds = Array.from({ length: images }, (_, i) => asSeed((first + BigInt(i)) % 2n ** 64n))
  return prompts.flatMap((prompt) => seeds.map((seed) => ({ prompt, seed })))
}

/** A number where numbers are exact: JSON and people read it more easily. */
function asSeed(value: bigint): number | bigint {
  return value <= Number.MAX_SAFE_INTEGER ? Number(value) : value
}

/** A picture that was drawn and written, without its pixels. */
interface Done extends Pick<DrawResult, "settings" | "timings" | "warnings"> {
  readonly file: string
  readonly seed: number | bigint
}

function settingsOf(options: GenerateOptions): Omit<TextToImageOptions, "prompt"> {
  const { negative, steps, guidance, width, height, scheduler } = options
  return { negativePrompt: negative, steps, guidanceScale: guidance, width, height, scheduler }
}

function printPicture({ file, seed, settings, timings, warnings }: Done, image: Image): void {
  for (const warning of warnings) process.stderr.write(`limn: ${warning}\n`)
  const { stdout } = process
  if (!stdout.isTTY) return void stdout.write(`${file}\n`)
  const kind = previewKind(process.env, stdout.getColorDepth())
  if (kind !== undefined) stdout.write(previewText(image.pixels, image.toPng(), kind, stdout.columns))
  const time = formatDuration(Object.values(timings).reduce((sum, ms) => sum + ms, 0))
  const { width, height, steps } = settings
  stdout.write(`${file}  ${width}x${height}, ${steps} steps, seed ${seed}, ${time}\n`)
}

/** What `--json` prints. Times are milliseconds over all pictures; settings are those of `textToImage`. */
function summary(loadMs: number, prompts: readonly string[], done: readonly Done[]) {
  const total = (part: keyof Timings, start = 0) => {
    const ms = done.reduce((sum, { timings }) => sum + timings[part], start)
    return Math.round(10 * ms) / 10
  }
  const { seed, ...settings } = done[0].settings
  return {
    files: done.map(({ file }) => file),
    seed,
    seeds: done.map(({ seed }) => seed),
    ...settings,
    prompt: prompts,
    negativePrompt: prompts.map(() => settings.negativePrompt[0]),
    imagesPerPrompt: done.length / prompts.length,
    timings: {
      load: total("load", loadMs),
      encode: total("encode"),
      denoise: total("denoise"),
      decode: total("decode"),
    },
    peakMemoryBytes: peakMemoryBytes(),
    warnings: [...new Set(done.flatMap(({ warnings }) => warnings))],
  }
}

/** JSON has no exact numbers above 2^53, where seeds may lie. */
function bigintAsText(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value
}
