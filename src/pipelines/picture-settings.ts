import { FormatError } from "../ground/errors.ts"
import { numberWhereExact, parseSeed } from "../ground/random/seed.ts"
import { schedulerNames } from "../schedulers/scheduler.ts"
import { textPrecisions } from "./chatglm-blocks.ts"
import type { UpscaleOptions } from "./hires-fix.ts"
import type { PictureOptions, Settings } from "./settings.ts"
import { stepsWalked } from "./settings.ts"

/** How a picture was made, as far as its file tells. */
export interface PictureSettings {
  /** What the program that made it called the model. */
  readonly model?: string
  /** Name of the file or folder of the decoder that stood for the model's own. */
  readonly decoder?: string
  /** What the matrices of Kolors' text encoder were kept in, where that was asked. */
  readonly textEncoder?: Settings["textEncoder"]
  readonly options: PictureOptions & Pick<Settings, "strength" | "extend" | "overlap"> & UpscaleOptions
  /** The words that the model had learnt by textual inversion. */
  readonly embeddings: readonly string[]
  /** What the model was given beside its checkpoint, where it was, by name. */
  readonly loras?: Settings["loras"]
  /** What ControlNets followed, but for the pictures, where the model had any. */
  readonly controls?: Settings["controls"]
  /** The IP-Adapters that looked at pictures, where there were any. */
  readonly ipAdapters?: Settings["ipAdapters"]
  /** What the model computed in, where that was integers; the others give the same picture but for rounding. */
  readonly precision?: "int8"
  /** Which of the pictures of its settings it is, from 0, where one seed drew several. */
  readonly picture: number
  /** Sentences about what the file says and limn does not do. */
  readonly warnings: readonly string[]
}

/**
 * The settings in a picture's texts by their PNG keywords: limn's own JSON, the `parameters` of A1111 and tools like it,
 * or the `prompt` graph of ComfyUI, where that samples once from a prompt.
 * Throws a FormatError, in which the file is called `name`, where there are none, or broken ones.
 */
export function readPictureSettings(
  text: Readonly<Record<string, string>>,
  name = "The picture",
): PictureSettings {
  if (text.limn !== undefined) return fromLimn(text.limn, name)
  if (text.parameters !== undefined) return fromParameters(text.parameters, name)
  if (text.prompt !== undefined) return fromComfy(text.prompt, name)
  throw new FormatError(
    `${name} does not say how it was made; give a picture that limn, A1111 or ComfyUI wrote.`,
  )
}

function fromLimn(json: string, name: string): PictureSettings {
  const settings = object(parsed(json, name, "limn"))
  if (settings?.grid !== undefined)
    throw new FormatError(
      `${name} is a grid of pictures; draw one of them by its settings, which limn info tells, or the grid by limn grid.`,
    )
  if (settings === undefined || settings.prompt === undefined) throw broken(name, "limn")
  const {
    model,
    decoder,
    textEncoder,
    device: _,
    precision,
    picture = 0,
    loras,
    controls,
    ipAdapters,
    seed,
    variationOf,
    embeddings = [],
    ...options
  } = settings as unknown as Settings & { picture?: number }
  const seeds = {
    seed: Array.isArray(seed) ? seed.map((one) => asSeed(one, name)) : asSeed(seed, name),
    ...(variationOf !== undefined && { variationOf: asSeed(variationOf, name) }),
  }
  if (!Array.isArray(embeddings) || ![controls, ipAdapters].every((one) => Array.isArray(one ?? [])))
    throw broken(name, "limn")
  if (textEncoder !== undefined && !textPrecisions.includes(textEncoder)) throw broken(name, "limn")
  const beside = {
    embeddings,
    ...(precision === "int8" && { precision: "int8" as const }),
    ...(loras && { loras }),
    ...(controls && { controls }),
    ...(ipAdapters && { ipAdapters }),
  }
  return {
    model,
    decoder,
    ...(textEncoder && { textEncoder }),
    options: { ...options, ...seeds },
    ...beside,
    picture,
    warnings: [],
  }
}

/**
 * The prompt's lines, a line that begins with "Negative prompt:", and a last line of "Key: value" pairs between commas,
 * values with commas in quotes.
 */
function fromParameters(text: string, name: string): PictureSettings {
  const facts = /(?:^|\n)(Steps: \d+.*)$/s.exec(text)
  if (facts === null) throw broken(name, "parameters")
  const [prompt, ...negative] = text.slice(0, facts.index).split(/(?:^|\n)Negative prompt: ?/)
  const pairs = new Map(
    Array.from(facts[1].matchAll(/\s*([\w +/-]+):\s*("(?:\\.|[^"\\])*"|[^,]*)(?:,|$)/g), ([, key, value]) => [
      key,
      value,
    ]),
  )
  const number = (key: string) => {
    const value = pairs.get(key)
    return value === undefined || !Number.isFinite(Number(value)) ? undefined : Number(value)
  }
  const [width, height] = (pairs.get("Size") ?? "").split("x").map(Number)
  const warnings: string[] = []
  const scheduler = schedulerOf([pairs.get("Sampler"), pairs.get("Schedule type")], warnings)
  const skip = number("Clip skip")
  const strengths = strengthsOf(number, pairs.get("Hires upscaler"), warnings)
  const seed = pairs.has("Seed") ? asSeed(pairs.get("Seed"), name) : undefined
  const variationStrength = number("Variation seed strength")
  const seeds =
    seed !== undefined && variationStrength !== undefined && pairs.has("Variation seed")
      ? { seed: asSeed(pairs.get("Variation seed"), name), variationOf: seed, variationStrength }
      : { seed }
  const loras = Array.from(prompt.matchAll(loraTag), ([, called, scale]) => ({
    name: called,
    scale: Number(scale ?? 1),
  }))
  const options = withoutGaps({
    prompt: prompt.replace(loraTag, "").trimEnd(),
    promptSyntax: "weighted" as const,
    negativePrompt: negative.join("\nNegative prompt: ").trimEnd(),
    steps: number("Steps"),
    guidanceScale: number("CFG scale"),
    ...seeds,
    width: width > 0 ? width : undefined,
    height: height > 0 ? height : undefined,
    scheduler,
    ...strengths,
    clipSkip: skip === undefined ? undefined : Math.max(0, skip - 1),
    // A1111 draws on the GPU unless it says otherwise.
    noise:
      pairs.get("Version") === "limn" && pairs.get("RNG") !== "NV"
        ? ("cpu" as const)
        : noiseOf(pairs.get("RNG")),
  })
  // "TI hashes: "word: hash, word: hash""
  const hashes = pairs.get("TI hashes")?.replaceAll('"', "").split(",") ?? []
  const embeddings = hashes.map((one) => one.split(":")[0].trim())
  const beside = { embeddings, ...(loras.length > 0 && { loras }) }
  return { ...modelOf(pairs.get("Model")), options, ...beside, picture: 0, warnings }
}

/**
 * How far a picture was left that was drawn over: one that was given, or, in a second stage, an enlarged one. Web tools
 * count the steps that are walked; here a strength leaves those many of all.
 */
function strengthsOf(
  number: (key: string) => number | undefined,
  upscaler: string | undefined,
  warnings: string[],
): Pick<Settings, "strength"> & UpscaleOptions {
  const [strength, upscale] = [number("Denoising strength"), number("Hires upscale")]
  if (upscale === undefined) return { strength }
  if (upscaler !== undefined && upscaler !== "Lanczos")
    warnings.push(`limn enlarges pictures by Lanczos' filter, not by "${upscaler}".`)
  // None, and 0, mean as many as of the first stage.
  const walked = number("Hires steps") || number("Steps")
  if (!walked || !strength) return { upscale, upscaleStrength: strength }
  const least = Math.ceil(walked / strength)
  // A product that is rounded down may miss a whole number by the last bit.
  const upscaleSteps = stepsWalked(least, strength) < walked ? least + 1 : least
  return { upscale, upscaleStrength: strength, upscaleSteps }
}

/** How prompts give a LoRA to web tools: its name, and how much of it. Further numbers are for single parts of a model. */
const loraTag = / ?<lora:([^:>]+)(?::(-?[\d.]+))?(?::[^>]*)?>/g

function noiseOf(rng: string | undefined): "cpu" | "cuda" {
  return rng === "CPU" ? "cpu" : "cuda"
}

/** A node of ComfyUI's graph; an input is a value, or [number of the node it comes from, which of its outputs]. */
interface ComfyNode {
  readonly class_type?: unknown
  readonly inputs?: Readonly<Record<string, unknown>>
}

function fromComfy(json: string, name: string): PictureSettings {
  const graph = object(parsed(json, name, "prompt")) as Readonly<Record<string, ComfyNode>> | undefined
  if (graph === undefined) throw broken(name, "prompt")
  const samplers = Object.values(graph).filter((node) => /^KSampler/.test(String(node?.class_type)))
  if (samplers.length !== 1)
    throw new FormatError(
      `${name} was made by a ComfyUI graph with ${samplers.length} samplers; limn reads those with one.`,
    )
  const follow = (from: ComfyNode | undefined, key: string): ComfyNode | undefined => {
    const link = from?.inputs?.[key]
    return Array.isArray(link) ? graph[String(link[0])] : undefined
  }
  const [sampler] = samplers
  const given = sampler.inputs ?? {}
  const words = (key: string) => {
    const text = follow(sampler, key)?.inputs?.text
    return typeof text === "string" ? text : undefined
  }
  const prompt = words("positive")
  if (prompt === undefined)
    throw new FormatError(`${name} was made by a ComfyUI graph whose prompt limn cannot find.`)
  const latent = follow(sampler, "latent_image")?.inputs ?? {}
  const number = (value: unknown) => (typeof value === "number" ? value : undefined)
  const warnings: string[] = []
  const sampled = [
    comfySamplers[String(given.sampler_name)] ?? String(given.sampler_name),
    String(given.scheduler),
  ]
  const seed = given.seed ?? given.noise_seed
  const options = withoutGaps({
    prompt,
    promptSyntax: "weighted" as const,
    negativePrompt: words("negative"),
    steps: number(given.steps),
    guidanceScale: number(given.cfg),
    seed: seed === undefined ? undefined : asSeed(seed, name),
    width: number(latent.width),
    height: number(latent.height),
    scheduler: schedulerOf(sampled, warnings),
    strength: number(given.denoise) === 1 ? undefined : number(given.denoise),
    noise: "cpu" as const,
  })
  const model = follow(sampler, "model")?.inputs?.ckpt_name
  return {
    ...modelOf(typeof model === "string" ? model : undefined),
    options,
    embeddings: [],
    picture: 0,
    warnings,
  }
}

/** What web tools call the samplers that ComfyUI names in its own way. */
const comfySamplers: Readonly<Record<string, string>> = {
  euler_ancestral: "Euler a",
  dpmpp_2m: "DPM++ 2M",
  dpmpp_2m_sde: "DPM++ 2M SDE",
  dpmpp_3m_sde: "DPM++ 3M SDE",
  uni_pc: "UniPC",
}

/** The name of a scheduler from that of a sampler and of a spacing: "DPM++ 2M", "Karras". */
function schedulerOf(
  [sampler, spacing]: readonly (string | undefined)[],
  warnings: string[],
): string | undefined {
  if (sampler === undefined) return undefined
  const known = (wanted: string) => schedulerNames.find((name) => name.toLowerCase() === wanted.toLowerCase())
  const found = (spacing && known(`${sampler} ${spacing}`)) ?? known(sampler)
  if (found === undefined) warnings.push(`limn has no sampler "${sampler}": the model's own is used.`)
  return found
}

function modelOf(model: string | undefined): Pick<PictureSettings, "model"> {
  return model === undefined ? {} : { model }
}

function withoutGaps<T extends object>(options: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as { [K in keyof T]: Exclude<T[K], undefined> }
}

function asSeed(value: unknown, name: string): number | bigint {
  const text = String(value)
  if (!/^\d{1,20}$/.test(text)) throw new FormatError(`${name} says that its seed is ${text}, which is none.`)
  return numberWhereExact(parseSeed(BigInt(text)))
}

function parsed(json: string, name: string, keyword: string): unknown {
  try {
    return JSON.parse(json)
  } catch {
    throw broken(name, keyword)
  }
}

function object(value: unknown): Readonly<Record<string, unknown>> | undefined {
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? (value as Readonly<Record<string, unknown>>)
    : undefined
}

function broken(name: string, keyword: string): FormatError {
  return new FormatError(`The settings that ${name} keeps under "${keyword}" are not what limn can read.`)
}
