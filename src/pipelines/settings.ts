import { UsageError } from "../ground/errors.ts"
import type { Sides } from "../ground/extend.ts"
import { parseSeed } from "../ground/random/seed.ts"
import type { IpScale } from "../models/ip-scale.ts"
import { schedulerTitle } from "../schedulers/scheduler.ts"
import type { TileOptions } from "./autoencoder.ts"
import type { TextPrecision } from "./chatglm-blocks.ts"
import { lastPart } from "./files.ts"
import type { Interval } from "./interval.ts"
import { isInterval } from "./interval.ts"
import type { Model, SeenImage } from "./model.ts"
import type { PromptSyntax } from "./prompt-syntax.ts"
import { escapeWeights } from "./prompt-syntax.ts"
import { learntWords, readsWeights } from "./text-encoder.ts"

/** What is asked of a verb that draws, as far as it says how the pictures come out. */
export interface PictureOptions extends TileOptions {
  /** What to draw: one text, or several that are drawn together. */
  readonly prompt: string | readonly string[]
  /** What to be led away from, the same for all prompts or one for each; default "". Needs a guidance scale above 1. */
  readonly negativePrompt?: string | readonly string[]
  /** In pixels, a multiple of 8; default: what the model was trained on. */
  readonly width?: number
  /** In pixels, a multiple of 8; default: what the model was trained on. */
  readonly height?: number
  /** Steps from noise to picture; default: what the model recommends, else 50, 1 for Turbo, 25 for Kolors with EDM's DPM-Solver. */
  readonly steps?: number
  /**
   * How strongly to follow the prompt; 1 or less for not at all guided, in half the time. Default: what the model
   * recommends, else 7.5, 5 for SDXL and Kolors, and 0 for Turbo.
   */
  readonly guidanceScale?: number
  /** How far to draw the deviation back that guidance widens, 0 (the default) to 1. */
  readonly guidanceRescale?: number
  /**
   * Guided only from this share of the steps on up to that one, 0 to 1, such as [0.1, 0.7]; steps without guidance take half
   * the time (Kynkäänniemi et al. 2024). Default: at every step.
   */
  readonly guidanceInterval?: Interval
  /**
   * The denoiser runs whole at every so many of its runs only, 2 to 5, and between them its outermost layers alone, around
   * what the inner ones last made: much less work, and less exact the more there are between (Ma et al. 2024: DeepCache).
   * Default 1: it always runs whole.
   */
  readonly cacheInterval?: number
  /**
   * 0 to 2^64 - 1: the same seed makes the same pictures. One seed draws the noise of all pictures in turn; a list has
   * one for each, and each picture is then the one that its seed makes alone. Default: a random one, told in the result.
   */
  readonly seed?: number | bigint | readonly (number | bigint)[]
  /**
   * A seed of which these pictures are variations: they begin on the way from its noise to that of `seed`, which web tools
   * call the variation seed. What schedulers add on the way is this one's.
   */
  readonly variationOf?: number | bigint
  /** How far on that way, from 0, the picture of `variationOf`, to 1, that of `seed`; default 0.2. */
  readonly variationStrength?: number
  /** Whose random numbers: PyTorch's on a CPU (the default), or on an NVIDIA GPU, as many web tools draw. */
  readonly noise?: "cpu" | "cuda"
  /** Pictures of each prompt; default 1. */
  readonly imagesPerPrompt?: number
  /** A scheduler's name, or the JSON of its configuration; default: the model's own. */
  readonly scheduler?: string | Readonly<Record<string, unknown>>
  /** DDIM and TCD: how much noise to add at each step, 0 (the default) to 1. */
  readonly eta?: number
  /**
   * How many of the text encoder's last layers to leave out, for both prompts; default 0. Web tools count from 1, and
   * diffusers leaves out none for the negative prompt.
   */
  readonly clipSkip?: number
  /**
   * "weighted" reads (word:1.3), [word] and BREAK as web tools do; "plain", the default, takes every character as it
   * stands, as diffusers does.
   */
  readonly promptSyntax?: PromptSyntax
  /**
   * Whether the ControlNets alone say what to draw, in place of the prompt; default false. A guidance scale of 3 to 5 is
   * best for it.
   */
  readonly guessMode?: boolean
}

/** How a ControlNet is followed, apart from its picture. */
export interface ControlSettings {
  /** Of the ControlNet. */
  readonly name: string
  readonly scale: number
  readonly start: number
  readonly end: number
}

/** How an IP-Adapter was used, apart from its pictures. */
export interface IpSettings {
  /** Of the IP-Adapter. */
  readonly name: string
  readonly scale: IpScale
  /** Which face of each picture it read, from the largest, 0, where it reads faces. */
  readonly faces?: readonly number[]
}

/** Every choice made: the same settings make the same pictures. Plain data, but for seeds above 2^53. */
export interface Settings {
  /** The model's name on the Hub, or that of its folder or file. */
  readonly model: string
  readonly prompt: readonly string[]
  /** One for each prompt. */
  readonly negativePrompt: readonly string[]
  readonly width: number
  readonly height: number
  readonly steps: number
  readonly guidanceScale: number
  readonly guidanceRescale: number
  /** The share of the steps that was guided, where not all were. */
  readonly guidanceInterval?: Interval
  /** At how many of its runs the denoiser ran whole, one in so many, where not at all. */
  readonly cacheInterval?: number
  readonly seed: number | bigint | readonly (number | bigint)[]
  /** The seed of which these are variations, and how far they are from it, where there is one. */
  readonly variationOf?: number | bigint
  readonly variationStrength?: number
  readonly noise: "cpu" | "cuda"
  readonly imagesPerPrompt: number
  /** The scheduler's whole configuration. */
  readonly scheduler: Readonly<Record<string, unknown>>
  readonly eta: number
  /** The share of the steps that were walked, where a picture was given to start from. */
  readonly strength?: number
  /** How many times larger a second stage made what was drawn at this size, and how, where there was one. */
  readonly upscale?: number
  readonly upscaleStrength?: number
  readonly upscaleSteps?: number
  /** Pixels that were drawn around a picture, and over how many it faded into them, where that was so. */
  readonly extend?: Sides
  readonly overlap?: number
  readonly clipSkip: number
  readonly promptSyntax: PromptSyntax
  /** The words that the model had learnt by textual inversion, where there were any. */
  readonly embeddings?: readonly string[]
  /** What the model was given beside its checkpoint, where it was. */
  readonly loras?: readonly { readonly name: string; readonly scale: number }[]
  /** What the model's ControlNets followed, where it had any, but for the pictures. */
  readonly controls?: readonly ControlSettings[]
  /** Whether the ControlNets alone said what to draw, where that was asked. */
  readonly guessMode?: boolean
  /** The IP-Adapters that it looked at pictures with, where there were any, but for the pictures. */
  readonly ipAdapters?: readonly IpSettings[]
  /** Whether the autoencoder worked in tiles, where that was asked; else it follows from the size. */
  readonly tiled?: boolean
  /** Name of the file or folder of the decoder that stood for the model's own, where there was one. */
  readonly decoder?: string
  /** What the matrices of Kolors' text encoder were kept in, where that was asked. */
  readonly textEncoder?: TextPrecision
  readonly device: string
  readonly precision: string
}

/**
 * The options with their defaults, checked; `scheduler` is the configuration of the one chosen.
 * Throws a UsageError for the first that cannot be.
 */
export function resolveSettings(
  model: Model,
  options: PictureOptions & {
    readonly strength?: number
    readonly controls: readonly Omit<ControlSettings, "name">[]
    /** Of each IP-Adapter. */
    readonly ipImages: readonly (readonly SeenImage[])[]
  },
  scheduler: Readonly<Record<string, unknown>>,
): Settings {
  const prompt = typeof options.prompt === "string" ? [options.prompt] : options.prompt
  if (prompt.length === 0) throw new UsageError("There is no prompt; give at least one.")
  const [height, width] = model.size
  const embeddings = learntWords(model.textEncoders)
  const settings: Settings = {
    model: model.name,
    prompt,
    negativePrompt: negatives(options.negativePrompt ?? "", prompt.length),
    width: options.width ?? width,
    height: options.height ?? height,
    steps: options.steps ?? model.usage.steps[String(scheduler._class_name)] ?? model.defaults.steps,
    guidanceScale: options.guidanceScale ?? model.defaults.guidanceScale,
    guidanceRescale: options.guidanceRescale ?? 0,
    ...(options.guidanceInterval !== undefined && { guidanceInterval: options.guidanceInterval }),
    ...(options.cacheInterval !== undefined && { cacheInterval: options.cacheInterval }),
    seed: options.seed ?? crypto.getRandomValues(new Uint32Array(1))[0],
    ...(options.variationOf !== undefined && {
      variationOf: options.variationOf,
      variationStrength: options.variationStrength ?? 0.2,
    }),
    noise: options.noise ?? "cpu",
    imagesPerPrompt: options.imagesPerPrompt ?? 1,
    scheduler,
    eta: options.eta ?? 0,
    ...(options.strength !== undefined && { strength: options.strength }),
    clipSkip: options.clipSkip ?? 0,
    promptSyntax: options.promptSyntax ?? "plain",
    ...(embeddings.length > 0 && { embeddings }),
    ...(model.loras.length > 0 && { loras: model.loras.map(({ name, scale }) => ({ name, scale })) }),
    ...(options.controls.length > 0 && { controls: namedControls(model, options.controls) }),
    ...(options.guessMode !== undefined && { guessMode: options.guessMode }),
    ...(model.ipAdapters.length > 0 && {
      ipAdapters: model.ipAdapters.map(({ name, scale, faceModels }, i) => ({
        name,
        scale,
        ...(faceModels && { faces: options.ipImages[i].map(({ face = 0 }) => face) }),
      })),
    }),
    ...(options.tiled !== undefined && { tiled: options.tiled }),
    ...(model.decoderPath !== undefined && { decoder: lastPart(model.decoderPath) }),
    ...(model.textPrecision !== undefined && { textEncoder: model.textPrecision }),
    device: model.device,
    precision: model.precision,
  }
  const side = sideUnit(model)
  checkSide("width", settings.width, side)
  checkSide("height", settings.height, side)
  checkInteger("steps", settings.steps, 1)
  checkInteger("imagesPerPrompt", settings.imagesPerPrompt, 1)
  checkInteger("clipSkip", settings.clipSkip, 0, model.mostClipSkip)
  if (!Number.isFinite(settings.guidanceScale))
    throw new UsageError(`guidanceScale is ${settings.guidanceScale}; give a number, such as 7.5.`)
  checkShare("guidanceRescale", settings.guidanceRescale)
  if (settings.guidanceInterval !== undefined) checkInterval(settings.guidanceInterval)
  if (settings.cacheInterval !== undefined) checkInteger("cacheInterval", settings.cacheInterval, 1)
  checkShare("eta", settings.eta)
  if (settings.strength !== undefined) checkStrength(settings.strength, settings.steps)
  if (settings.variationOf === undefined && options.variationStrength !== undefined)
    throw new UsageError(
      "variationStrength says how far to vary a seed's pictures; give that, as variationOf.",
    )
  if (settings.variationStrength !== undefined) checkShare("variationStrength", settings.variationStrength)
  if (settings.noise !== "cpu" && settings.noise !== "cuda")
    throw new UsageError(`noise is ${JSON.stringify(settings.noise)}; choose "cpu" or "cuda".`)
  if (settings.promptSyntax !== "plain" && settings.promptSyntax !== "weighted")
    throw new UsageError(
      `promptSyntax is ${JSON.stringify(settings.promptSyntax)}; choose "plain" or "weighted".`,
    )
  checkReadsWeights(model, settings)
  if (settings.guessMode && settings.controls === undefined)
    throw new UsageError("guessMode leaves it to ControlNets what to draw; give the model one.")
  checkSeeds(settings)
  return settings
}

function checkInterval(interval: Interval): void {
  if (!Array.isArray(interval) || !isInterval(interval))
    throw new UsageError(
      `guidanceInterval is ${JSON.stringify(interval)}; give two shares of the steps, the lower first, such as [0.1, 0.7].`,
    )
}

function namedControls(
  { controlNets }: Model,
  controls: readonly Omit<ControlSettings, "name">[],
): readonly ControlSettings[] {
  return controls.map(({ scale, start, end }, i) => ({ name: controlNets[i].name, scale, start, end }))
}

/** Sides of pictures are multiples of so many pixels; diffusers asks for 8 whatever the autoencoder. */
export function sideUnit({ latentPixels }: Pick<Model, "latentPixels">): number {
  return Math.max(8, latentPixels)
}

/** Pictures that such settings make. */
export function pictureCount({ prompt, imagesPerPrompt }: Settings): number {
  return prompt.length * imagesPerPrompt
}

/** The latents of all pictures: [pictures, C, height / 8, width / 8]. */
export function latentShape(model: Model, settings: Settings): number[] {
  const { height, width } = settings
  const { vaeConfig, latentPixels } = model
  return [pictureCount(settings), vaeConfig.latentChannels, height / latentPixels, width / latentPixels]
}

/**
 * What the file of picture `index` keeps: the settings that make it, as JSON under `limn`, and under `parameters` the
 * lines that web tools write and read. Where one seed drew several pictures, JSON tells which of them this is.
 */
export function pictureText(settings: Settings, index: number): Readonly<Record<string, string>> {
  const { seed, width, height, steps, guidanceScale, clipSkip, noise, model } = settings
  const which = Math.floor(index / settings.imagesPerPrompt)
  const prompt = settings.prompt[which]
  const negativePrompt = settings.negativePrompt[which]
  const own =
    typeof seed === "object"
      ? { ...settings, prompt, negativePrompt, seed: seed[index], imagesPerPrompt: 1 }
      : pictureCount(settings) === 1
        ? { ...settings, prompt, negativePrompt }
        : { ...settings, picture: index }
  const facts = [
    `Steps: ${steps}`,
    `Sampler: ${schedulerTitle(settings.scheduler)}`,
    `CFG scale: ${guidanceScale}`,
    // Web tools call the seed of which a picture is a variation the seed, and the other the variation seed.
    ...(settings.variationOf !== undefined
      ? [
          `Seed: ${settings.variationOf}`,
          `Variation seed: ${own.seed}`,
          `Variation seed strength: ${settings.variationStrength}`,
        ]
      : [`Seed: ${own.seed}`]),
    `Size: ${width}x${height}`,
    `Model: ${model}`,
    ...(settings.strength !== undefined ? [`Denoising strength: ${settings.strength}`] : []),
    ...upscaleFacts(settings),
    // Web tools count the layers from 1, and call CUDA's random numbers NV.
    ...(clipSkip > 0 ? [`Clip skip: ${clipSkip + 1}`] : []),
    ...(noise === "cuda" ? ["RNG: NV"] : []),
    "Version: limn",
  ]
  // What weighs nothing here must not weigh in a web tool.
  const shown = (text: string) => (settings.promptSyntax === "plain" ? escapeWeights(text) : text)
  const negative = negativePrompt === "" ? [] : [`Negative prompt: ${shown(negativePrompt)}`]
  // Web tools are given LoRAs in the prompt.
  const tags = (settings.loras ?? []).map(({ name, scale }) => ` <lora:${name}:${scale}>`)
  return {
    parameters: [[shown(prompt), ...tags].join(""), ...negative, facts.join(", ")].join("\n"),
    limn: JSON.stringify(own, (_, value) => (typeof value === "bigint" ? String(value) : value)),
  }
}

/** A second stage as web tools tell of it: they count the steps that were walked, and call its strength the picture's. */
function upscaleFacts({ upscale, upscaleStrength, upscaleSteps }: Settings): string[] {
  if (upscale === undefined || upscaleStrength === undefined || upscaleSteps === undefined) return []
  return [
    `Denoising strength: ${upscaleStrength}`,
    `Hires upscale: ${upscale}`,
    `Hires steps: ${stepsWalked(upscaleSteps, upscaleStrength)}`,
    "Hires upscaler: Lanczos",
  ]
}

function negatives(given: string | readonly string[], prompts: number): readonly string[] {
  if (typeof given === "string") return new Array<string>(prompts).fill(given)
  if (given.length !== prompts)
    throw new UsageError(
      `${given.length} negative prompts do not fit ${prompts} prompts; give one, or one for each.`,
    )
  return given
}

function checkSide(name: string, value: number, multiple: number): void {
  if (!Number.isInteger(value) || value < multiple || value % multiple !== 0)
    throw new UsageError(`${name} is ${value}; give a positive multiple of ${multiple}.`)
}

function checkInteger(name: string, value: number, least: number, most = Number.POSITIVE_INFINITY): void {
  const range = most === Number.POSITIVE_INFINITY ? `from ${least} on` : `from ${least} to ${most}`
  if (!Number.isInteger(value) || value < least || value > most)
    throw new UsageError(`${name} is ${value}; give a whole number ${range}.`)
}

function checkShare(name: string, value: number): void {
  if (!(value >= 0 && value <= 1)) throw new UsageError(`${name} is ${value}; give a number from 0 to 1.`)
}

function checkReadsWeights({ name, textEncoders }: Model, { promptSyntax }: Settings): void {
  if (promptSyntax === "weighted" && !readsWeights(textEncoders))
    throw new UsageError(
      `promptSyntax is "weighted", but the text encoder of ${name} knows no weights; choose "plain".`,
    )
}

function checkStrength(strength: number, steps: number): void {
  checkShare("strength", strength)
  if (stepsWalked(steps, strength) < 1)
    throw new UsageError(
      `${steps} steps at strength ${strength} leave none to walk; steps times strength must be at least 1.`,
    )
}

/** How many of a walk's steps such a strength leaves to walk (diffusers `get_timesteps`). */
export function stepsWalked(steps: number, strength: number): number {
  return Math.min(Math.trunc(steps * strength), steps)
}

function checkSeeds(settings: Settings): void {
  const seeds = typeof settings.seed === "object" ? settings.seed : [settings.seed]
  for (const seed of [...seeds, settings.variationOf ?? 0]) parseSeed(seed)
  if (typeof settings.seed === "object" && seeds.length !== pictureCount(settings))
    throw new UsageError(
      `${seeds.length} seeds do not fit ${pictureCount(settings)} pictures; give one, or one for each.`,
    )
}
