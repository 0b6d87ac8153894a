import { dirname } from "node:path"
import { fileURLToPath } from "node:url"
import { makeFolder, peakMemoryBytes } from "#platform"
import type { Sides } from "../ground/extend.ts"
import type { Pixels } from "../ground/image.ts"
import { numberWhereExact } from "../ground/random/seed.ts"
import type { TextPrecision } from "../pipelines/chatglm-blocks.ts"
import { controlNet } from "../pipelines/controlnet.ts"
import type { DenoiseStep } from "../pipelines/denoise.ts"
import type { DrawOptions, DrawResult, Timings } from "../pipelines/draw.ts"
import type { UpscaleOptions } from "../pipelines/hires-fix.ts"
import type { HubOptions } from "../pipelines/hub-model.ts"
import type { Image } from "../pipelines/image.ts"
import type { IpImages } from "../pipelines/ip-images.ts"
import type { LoadOptions } from "../pipelines/load.ts"
import { load } from "../pipelines/load.ts"
import { lora } from "../pipelines/lora.ts"
import type { Model } from "../pipelines/model.ts"
import { linearPreview } from "../pipelines/preview.ts"
import type { QuantizeProgress } from "../pipelines/rounded-file.ts"
import { learntWords, readsWeights } from "../pipelines/text-encoder.ts"
import { withTextualInversion } from "../pipelines/textual-inversion.ts"
import type { VerbOptions } from "../recipes/verb.ts"
import { checkVerb, drawByVerb } from "../recipes/verb.ts"
import type { ControlOptions } from "./controls.ts"
import { readControls } from "./controls.ts"
import type { FaceOptions } from "./faces.ts"
import { faceAdditions, readFaceImages } from "./faces.ts"
import { fetchingState } from "./fetching.ts"
import { formatDuration } from "./format.ts"
import { interruption } from "./interruption.ts"
import type { IpOptions } from "./ip-adapter.ts"
import { ipAdditions, readIpImages } from "./ip-adapter.ts"
import { readPicture } from "./picture.ts"
import { openPlace, shownPath } from "./places.ts"
import { liveText, previewKind, previewText } from "./preview.ts"
import type { Progress } from "./progress.ts"
import { progressOn } from "./progress.ts"

/** What every command that draws can be told. */
export interface DrawingOptions
  extends ControlOptions,
    IpOptions,
    FaceOptions,
    UpscaleOptions,
    Partial<Sides> {
  readonly model?: string
  /** Of a model on the Hub: a branch, a tag or a commit. */
  readonly revision?: string
  /** Paths of files of textual inversion. */
  readonly embedding?: readonly string[]
  readonly decoder?: string
  readonly out?: string
  readonly negative?: string
  readonly seed?: bigint
  /** Of which the pictures are variations. */
  readonly variationOf?: bigint
  readonly variationStrength?: number
  /** Whose random numbers a seed gives. */
  readonly noise?: "cpu" | "cuda"
  readonly steps?: number
  readonly guidance?: number
  /** From which share of the steps on to guide, and up to which. */
  readonly guidanceStart?: number
  readonly guidanceEnd?: number
  /** At how many steps, one in so many, the denoiser runs whole. */
  readonly cacheInterval?: number
  readonly width?: number
  readonly height?: number
  readonly scheduler?: string
  /** Path of a picture to draw over. */
  readonly image?: string
  /** Path of a picture that is white where to draw. */
  readonly mask?: string
  readonly strength?: number
  /** In order; a scale that is not said is 1. */
  readonly lora?: readonly GivenLora[]
  readonly device?: "auto" | "cpu" | "webgpu" | "cuda"
  readonly precision?: "auto" | "fp32" | "fp16" | "int8"
  /** What the matrices of Kolors' text encoder are kept in. */
  readonly textEncoder?: TextPrecision
  readonly lowMemory?: boolean
  /** False where the model's own is not wanted. */
  readonly safetyChecker?: boolean
  readonly json?: boolean
  readonly quiet?: boolean
}

/** What draws an order. */
export type Verb = (model: Model, options: DrawOptions) => Promise<DrawResult>

/** Which verb draws, by the picture that there is to draw over. */
export type VerbFor = (over: Pixels | undefined) => Verb | Promise<Verb>

/** A LoRA's file, and how much of it. */
export interface GivenLora {
  readonly path: string
  readonly scale?: number
}

/** One picture to draw. */
export interface Order extends DrawOptions {
  readonly prompt: string
  readonly seed: number | bigint
  /** Which of the pictures that its settings draw, from 0 (the default). */
  readonly picture?: number
}

/** The model that comes with limn, seen from `src/cli` as from `dist/node`. */
export const inkling = fileURLToPath(new URL("../../models/inkling", import.meta.url))

/** A step takes seconds on large models; Ctrl-C does not wait that long. */
export const PATIENCE_MS = 300

/** A picture that takes longer than this shows what it is coming to. */
const LIVE_AFTER_MS = 5000

/**
 * Draws the orders one after the other, `imagesPerPrompt` in a row of each prompt; each picture is written as soon as it
 * is there. What draws them follows from the options, or is said of the picture that there is to draw over.
 */
export async function drawOrders(
  orders: readonly Order[],
  options: DrawingOptions,
  imagesPerPrompt = 1,
  verbFor: VerbFor = (over) => verbOf(options, over),
): Promise<void> {
  const { json = false, quiet = false } = options
  const place = openPlace(options.out, orders.length)
  const over = options.image === undefined ? undefined : await readPicture(options.image)
  const verb = await verbFor(over)
  const controlsFor = await readControls(options, { image: over, extend: sidesOf(options) })
  const ipImages = await readSeen(options)
  const progress = progressOn(process.stderr, { quiet })
  const stop = interruption(() => {
    progress.clear()
    return PATIENCE_MS
  })

  const done: Done[] = []
  const follow = (model: Model) => {
    const started = performance.now()
    return ({ step, steps, predOriginalSample }: DenoiseStep) => {
      const label = orders.length === 1 ? "drawing" : `drawing ${done.length + 1} of ${orders.length}`
      const note = step === steps ? "decoding" : undefined
      const live = model.preview !== undefined && performance.now() - started > LIVE_AFTER_MS
      const picture = live
        ? liveText(linearPreview(model, predOriginalSample)[0], process.env, process.stderr)
        : undefined
      progress.show({ label, done: done.length * steps + step, total: orders.length * steps, note, picture })
    }
  }
  try {
    const model = await openModel(options, progress, stop.signal)
    const controls = controlsFor(model)
    if (!json && !quiet) {
      progress.clear()
      hintAtWords(model, orders)
    }
    const plain = readsWeights(model.textEncoders) ? {} : { promptSyntax: "plain" as const }
    for (const { picture = 0, ...order } of orders) {
      const { images, settings, timings, warnings, withheld } = await verb(model, {
        ...order,
        ...plain,
        controls,
        ipImages,
        signal: stop.signal,
        onStep: follow(model),
      })
      const path = place.next(order.prompt, order.seed)
      await makeFolder(dirname(path))
      await stop.protect(() => images[picture].save(path))
      const own = { seed: order.seed, withheld: withheld[picture] }
      done.push({ file: shownPath(path), ...own, settings, timings, warnings })
      progress.clear()
      if (!json && !quiet) printPicture(done[done.length - 1], images[picture])
    }
    if (json) {
      const prompts = orders.filter((_, i) => i % imagesPerPrompt === 0).map(({ prompt }) => prompt)
      console.log(JSON.stringify(summary(model.loadMs, prompts, done), bigintAsText, 2))
    }
  } catch (error) {
    progress.clear()
    if (stop.signal.aborted) return stop.end()
    throw error
  }
}

/** The model that the options name, with what they give it beside its checkpoint; nothing else of them counts. */
export async function openModel(
  options: DrawingOptions,
  progress: Progress,
  signal: AbortSignal,
): Promise<Model> {
  progress.show({ label: "loading" })
  const { decoder, device, precision, revision, textEncoder, lowMemory, safetyChecker } = options
  const fetching: HubOptions = {
    signal,
    onProgress: (fetched) => progress.show(fetchingState(fetched)),
  }
  const onQuantize = ({ part, ...rounded }: QuantizeProgress) =>
    progress.show({ label: `rounding the ${part}`, ...rounded })
  const loading: LoadOptions = {
    onQuantize,
    decoder,
    device,
    precision,
    revision,
    textEncoder,
    lowMemory,
    safetyChecker,
    ...fetching,
  }
  let model = await load(options.model ?? inkling, loading)
  if (model.running.lowMemory && lowMemory === undefined && !options.quiet) {
    progress.clear()
    process.stderr.write("limn: Memory is short, so weights stay in their files (--low-memory): slower.\n")
  }
  for (const path of options.embedding ?? []) model = await withTextualInversion(model, path)
  const additions = [
    ...(options.lora ?? []).map(({ path, scale }) => lora(path, { scale })),
    ...(options.control ?? []).map((path) => controlNet(path, fetching)),
    ...ipAdditions(options, fetching),
    ...faceAdditions(options, fetching),
  ]
  return additions.length > 0 ? model.with(...additions) : model
}

/** What each of the IP-Adapters that the options name looks at. */
export async function readSeen(options: IpOptions & FaceOptions): Promise<IpImages> {
  const seen = [await readIpImages(options), await readFaceImages(options)]
  const given = seen.filter((images) => images.length > 0)
  return given.length === 1 ? given[0] : given
}

/** What the options ask of the model, beside what the orders say. */
async function verbOf(options: DrawingOptions, image: Pixels | undefined): Promise<Verb> {
  const verb = await verbOptions(options, image)
  return (model, drawing) => drawByVerb(model, { ...drawing, ...verb })
}

/**
 * What the options say, beside a prompt, of how to draw; pictures are read. Throws a UsageError for options of which one
 * means nothing beside the others.
 */
export async function verbOptions(options: DrawingOptions, image: Pixels | undefined): Promise<VerbOptions> {
  const { mask, strength, width, height, upscale, upscaleStrength, upscaleSteps } = options
  const verb = { image, extend: sidesOf(options), strength, upscale, upscaleStrength, upscaleSteps }
  const [side = "left"] = sideNames.filter((name) => options[name] !== undefined)
  checkVerb({ ...verb, mask, width, height }, (name) =>
    name === "extend" ? `--${side}` : `--${name.replace(/[A-Z]/, (letter) => `-${letter.toLowerCase()}`)}`,
  )
  return { ...verb, mask: mask === undefined ? undefined : await readPicture(mask) }
}

/** The options that say how far to draw around a picture. */
export const sideNames = ["left", "top", "right", "bottom"] as const

function sidesOf({ left, top, right, bottom }: Partial<Sides>): Partial<Sides> | undefined {
  const given = Object.entries({ left, top, right, bottom }).filter(([, pixels]) => pixels !== undefined)
  return given.length === 0 ? undefined : Object.fromEntries(given)
}

/** The options of a picture that the command line gives. */
export function pictureOptions(
  options: DrawingOptions,
): Omit<DrawOptions, "prompt" | "negativePrompt"> & { readonly negativePrompt?: string } {
  const { negative, variationOf, variationStrength, noise, steps, guidance, width, height, scheduler } =
    options
  const { guidanceStart, guidanceEnd, cacheInterval } = options
  const given = {
    negativePrompt: negative,
    variationOf: variationOf === undefined ? undefined : numberWhereExact(variationOf),
    variationStrength,
    noise,
    steps,
    guidanceScale: guidance,
    guidanceInterval:
      guidanceStart === undefined && guidanceEnd === undefined
        ? undefined
        : ([guidanceStart ?? 0, guidanceEnd ?? 1] as const),
    cacheInterval,
    width,
    height,
    scheduler,
  }
  return Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
}

/** Says which learnt words no prompt has: their files, not the user, may have named them. */
function hintAtWords({ textEncoders }: Model, orders: readonly Order[]): void {
  const texts = orders.flatMap(({ prompt, negativePrompt = "" }) => [prompt, negativePrompt].flat())
  for (const word of learntWords(textEncoders))
    if (!texts.some((text) => text.toLowerCase().includes(word.toLowerCase())))
      process.stderr.write(`limn: No prompt has the learnt word ${word}.\n`)
}

/** A picture that was drawn and written, without its pixels. */
interface Done extends Pick<DrawResult, "settings" | "timings" | "warnings"> {
  readonly file: string
  readonly seed: number | bigint
  readonly withheld: boolean
}

function printPicture({ file, seed, settings, timings, warnings }: Done, image: Image): void {
  for (const warning of warnings) process.stderr.write(`limn: ${warning}\n`)
  const { stdout } = process
  if (!stdout.isTTY) return void stdout.write(`${file}\n`)
  printPreview(image)
  const time = formatDuration(Object.values(timings).reduce((sum, ms) => sum + ms, 0))
  const { steps } = settings
  const { width, height } = image.pixels
  stdout.write(`${file}  ${width}x${height}, ${steps} steps, seed ${seed}, ${time}\n`)
}

/** A small picture on standard output, where that is a terminal that can show one. */
export function printPreview({ pixels, toPng }: Image): void {
  const { stdout } = process
  if (!stdout.isTTY) return
  const kind = previewKind(process.env, stdout.getColorDepth())
  if (kind !== undefined) stdout.write(previewText(pixels, toPng(), kind, stdout.columns))
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
    withheld: done.map(({ withheld }) => withheld),
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
export function bigintAsText(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value
}
