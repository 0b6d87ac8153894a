import { cpuGenerator } from "../ground/random/cpu-generator.ts"
import { cudaGenerator } from "../ground/random/cuda-generator.ts"
import type { RandomSource } from "../ground/random/source.ts"
import { perSample } from "../ground/random/source.ts"
import { variation } from "../ground/random/variation.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { Scheduler } from "../schedulers/scheduler.ts"
import { schedulerFromConfig } from "../schedulers/scheduler.ts"
import { loadDecoderAhead, loadDenoiserAhead } from "./ahead.ts"
import { openDecoder } from "./autoencoder.ts"
import type { Control } from "./controls.ts"
import { resolveControls, walkControl } from "./controls.ts"
import type { DenoiseOptions, DenoiseStep } from "./denoise.ts"
import { denoise, openDenoiser } from "./denoise.ts"
import type { Image } from "./image.ts"
import { image } from "./image.ts"
import type { IpImages } from "./ip-images.ts"
import { encodeIpImages, resolveIpImages } from "./ip-images.ts"
import { loraWarnings } from "./lora.ts"
import { checkMemory } from "./memory-check.ts"
import type { Conditioning, Model } from "./model.ts"
import type { OpenNetwork } from "./network.ts"
import { chunkCount, encodeNegative, encodePrompt, openTextEncoders, promptWarnings } from "./prompts.ts"
import { joinRows, repeatedRow } from "./rows.ts"
import { blackened, openSafetyChecker, withheldWarnings } from "./safety-checker.ts"
import type { PictureOptions, Settings } from "./settings.ts"
import { pictureCount, pictureText, resolveSettings } from "./settings.ts"

/** How the pictures come out, and how to follow and stop the work: what all verbs that draw take. */
export interface DrawOptions extends PictureOptions {
  /** What the model's ControlNets are to follow: one for each, in the order in which they were given to it. */
  readonly controls?: readonly Control[]
  /** What the model's IP-Adapters look at: one entry for each, a picture or several; for a single one a plain list. */
  readonly ipImages?: IpImages
  /** Stops between two runs of the model: the call then rejects with the signal's reason. */
  readonly signal?: AbortSignal
  /** Called, and waited for, after every step. */
  readonly onStep?: (step: DenoiseStep) => void | Promise<void>
}

/** Milliseconds that each part of the work took. */
export interface Timings {
  /** Loading graphs and weights, as far as they were not loaded yet. */
  readonly load: number
  readonly encode: number
  readonly denoise: number
  /** And looking at the pictures, where the model has a safety checker. */
  readonly decode: number
}

/** Pictures, and what would make them again. */
export interface DrawResult {
  /** The first picture. */
  readonly image: Image
  /** All of the first prompt, then all of the second. */
  readonly images: readonly Image[]
  /** For each of them whether the model's safety checker withheld it; it is black then. */
  readonly withheld: readonly boolean[]
  /** What the decoder made them from [pictures, C, height / 8, width / 8]. */
  readonly latents: Tensor<"float32">
  readonly settings: Settings
  readonly seed: Settings["seed"]
  readonly timings: Timings
  /** Sentences about what was done otherwise than asked. */
  readonly warnings: readonly string[]
}

/** What is settled before a walk begins. */
export interface Prepared {
  readonly settings: Settings
  /** After `setTimesteps`. */
  readonly scheduler: Scheduler
  /** Seeded; all chance before the walk comes from it, in the order in which diffusers draws. */
  readonly random: RandomSource
}

/** Where a walk begins, and what it holds on to. */
export type Beginning = Pick<DenoiseOptions, "latents" | "firstStep" | "extraChannels" | "held">

/**
 * Texts into pictures by one walk of the denoiser from where `begin` says: what all verbs that draw have in common.
 * Throws a UsageError for options that cannot be, a LimnError where memory does not suffice or the model fails, and the signal's reason.
 */
export async function draw(
  model: Model,
  options: DrawOptions & { readonly strength?: number },
  begin: (prepared: Prepared) => Beginning | Promise<Beginning>,
): Promise<DrawResult> {
  const { signal, onStep } = options
  const scheduler = schedulerFor(model, options)
  const ipImages = resolveIpImages(model, options.ipImages ?? [])
  const controls = resolveControls(model, options.controls ?? [])
  const settings = resolveSettings(model, { ...options, controls, ipImages }, scheduler.config)
  scheduler.setTimesteps(settings.steps)
  checkMemory(model)
  signal?.throwIfAborted()
  const timings = { load: 0, encode: 0, denoise: 0, decode: 0 }
  const { guidanceScale, guidanceRescale, guidanceInterval, cacheInterval, eta, clipSkip, promptSyntax } =
    settings
  const guided = guidanceScale > 1
  const texts = [...settings.prompt, ...(guided ? settings.negativePrompt : [])]

  const reading = { clipSkip, promptSyntax, chunks: chunkCount(model, texts, promptSyntax) }
  const conditioningOf = async (prompts: readonly string[], encode: typeof encodePrompt) => {
    const encoded = await Promise.all(prompts.map((text) => encode(model, text, reading)))
    return conditioningRows(model, encoded, settings)
  }
  const openingEncoders = openTextEncoders(model)
  loadDenoiserAhead(model, {
    settings,
    guided,
    chunks: reading.chunks,
    complete: (encoded) => conditioningRows(model, encoded, settings),
  })
  const [textual, textualNegative] = await withNetwork(timings, "encode", openingEncoders, () =>
    Promise.all([
      conditioningOf(settings.prompt, encodePrompt),
      guided ? conditioningOf(settings.negativePrompt, encodeNegative) : undefined,
    ]),
  )
  signal?.throwIfAborted()
  loadDecoderAhead(model, settings)

  const { random, beginningRandom } = randomSources(settings)
  const encodeStart = performance.now()
  const { width, height } = settings
  const count = pictureCount(settings)
  const seen = await encodeIpImages(model, ipImages, { width, height, count, guided })
  signal?.throwIfAborted()
  const beginning = await begin({ settings, scheduler, random: beginningRandom })
  timings.encode += performance.now() - encodeStart
  signal?.throwIfAborted()
  const walk = {
    ...beginning,
    ...(controls.length > 0 && { controls: controls.map((one) => walkControl(one, settings)) }),
    guessMode: settings.guessMode,
    conditioning: { ...textual, ...seen.conditioning },
    negative: textualNegative && { ...textualNegative, ...seen.negative },
    guidanceScale,
    guidanceRescale,
    guidanceInterval,
    cacheInterval,
    scheduler,
    random,
    eta,
    signal,
  }
  const latents = await withNetwork(timings, "denoise", openDenoiser(model, walk), async () => {
    let last = beginning.latents
    for await (const step of denoise(model, walk)) {
      last = step.latents
      await onStep?.(step)
    }
    return last
  })

  const pictures = await withNetwork(
    timings,
    "decode",
    openDecoder(model, latents.shape, settings),
    (decoder) => decoder.decode(latents, signal),
  )
  const { safetyChecker } = model
  const withheld =
    safetyChecker === undefined
      ? pictures.map(() => false)
      : await withNetwork(timings, "decode", openSafetyChecker(safetyChecker), (checker) =>
          checker.check(pictures),
        )
  const images = pictures.map((picture, i) =>
    image(withheld[i] ? blackened(picture) : picture, pictureText(settings, i)),
  )
  return {
    image: images[0],
    images,
    withheld,
    latents,
    settings,
    seed: settings.seed,
    timings,
    warnings: [
      ...withheldWarnings(withheld),
      ...promptWarnings(model, texts, promptSyntax),
      ...loraWarnings(model, texts),
      ...otherNoiseWarnings(model, settings),
    ],
  }
}

/** The scheduler that options ask for, or the model's own. Throws a UsageError for a name that is none. */
export function schedulerFor(
  { schedulerConfig, usage }: Pick<Model, "schedulerConfig" | "usage">,
  { scheduler }: Pick<PictureOptions, "scheduler">,
): Scheduler {
  if (typeof scheduler === "object") return schedulerFromConfig(scheduler)
  return schedulerFromConfig(schedulerConfig, scheduler, { alsoWalks: Object.keys(usage.steps) })
}

/** A sentence where the scheduler walks noise levels that the model's own, which it was trained with, does not. */
function otherNoiseWarnings({ usage, schedulerConfig, name }: Model, { scheduler }: Settings): string[] {
  const chosen = String(scheduler._class_name)
  const own = schedulerFromConfig(schedulerConfig).config._class_name
  if (usage.steps[chosen] === undefined || own === chosen) return []
  return [
    `${chosen} walks noise levels that ${name} was not trained on, and may draw noise; "DPM++ 2M Karras" is its solver over the model's own.`,
  ]
}

/** A row for each picture from one for each prompt; a model that asks for sizes is told those of the picture. */
function conditioningRows(
  model: Model,
  encoded: readonly Conditioning[],
  { imagesPerPrompt, height, width }: Settings,
): Conditioning {
  const rows = Object.keys(encoded[0]).map((name): [string, Tensor<"float32">] => [
    name,
    joinRows(encoded.flatMap((one) => new Array<Tensor<"float32">>(imagesPerPrompt).fill(one[name]))),
  ])
  if (model.unetConfig.additionEmbed?.type !== "text_time") return Object.fromEntries(rows)
  // Original size, corner of the crop, target size (Podell 2023): a picture that was never scaled nor cropped.
  const sizes = [height, width, 0, 0, height, width]
  return { ...Object.fromEntries(rows), timeIds: repeatedRow(sizes, encoded.length * imagesPerPrompt) }
}

/** Waits for networks, then works with them; both are timed apart, and the networks are released at the end. */
async function withNetwork<N extends Pick<OpenNetwork, "release">, T>(
  timings: Record<keyof Timings, number>,
  part: keyof Timings,
  opening: Promise<N>,
  work: (opened: N) => Promise<T>,
): Promise<T> {
  const start = performance.now()
  const opened = await opening
  const loaded = performance.now()
  timings.load += loaded - start
  try {
    return await work(opened)
  } finally {
    opened.release()
    timings[part] += performance.now() - loaded
  }
}

/** Where a walk draws from, and where its beginning does: on the way to another seed, where it is a variation. */
function randomSources({ seed, noise, variationOf, variationStrength }: Settings): {
  readonly random: RandomSource
  readonly beginningRandom: RandomSource
} {
  const generator = noise === "cuda" ? cudaGenerator : cpuGenerator
  const sourceOf = (given: Settings["seed"]) =>
    typeof given === "object" ? perSample(given.map((one) => generator(one))) : generator(given)
  const own = sourceOf(seed)
  if (variationOf === undefined || variationStrength === undefined)
    return { random: own, beginningRandom: own }
  const random = sourceOf(typeof seed === "object" ? seed.map(() => variationOf) : variationOf)
  return { random, beginningRandom: variation(random, own, variationStrength) }
}
