import { absolutePath, exists } from "#platform"
import { LimnError } from "../ground/errors.ts"
import type { ModelDefaults } from "./defaults.ts"
import { readJsonObject } from "./files.ts"
import type { PreviewFactors } from "./preview-factors.ts"
import { stableDiffusionPreview, stableDiffusionXlPreview } from "./preview-factors.ts"
import type { Usage } from "./usage.ts"
import { kolorsUsage, usual } from "./usage.ts"

/** What sets one family of models apart, beyond what the configurations of their parts say. */
export interface Family {
  /** As people call it. */
  readonly title: string
  /** The text encoders in the order in which their states are joined, each with its tokenizer. */
  readonly textEncoders: readonly {
    readonly kind: "clip" | "chatglm"
    readonly name: string
    readonly tokenizer: string
  }[]
  /**
   * Which states of the text the denoiser reads: the last after the final normalisation (SD 1.x), or the one before the
   * last as it is, so that a whole layer is left out already (SDXL, Kolors).
   */
  readonly textStates: "last" | "penultimate"
  /** Whether a missing negative prompt is zeros in place of the encoded empty text, where its index does not say. */
  readonly zeroNegative: boolean
  /** Whether its autoencoder overflows in half precision, where that autoencoder's configuration says so. */
  readonly upcastsAutoencoder: boolean
  /** Latents as colours, where the autoencoder is the published one. */
  readonly preview: PreviewFactors
  /** diffusers' defaults for its pipeline. */
  readonly defaults: ModelDefaults
  readonly usage: Usage
}

const clip = { kind: "clip", name: "text_encoder", tokenizer: "tokenizer" } as const

/** Stable Diffusion 1.x (Rombach et al. 2022). */
export const stableDiffusion: Family = {
  title: "Stable Diffusion 1.x",
  textEncoders: [clip],
  textStates: "last",
  zeroNegative: false,
  upcastsAutoencoder: false,
  preview: stableDiffusionPreview,
  defaults: { steps: 50, guidanceScale: 7.5 },
  usage: usual,
}

/** SDXL (Podell et al. 2023) and SDXL-Turbo. */
export const stableDiffusionXl: Family = {
  title: "Stable Diffusion XL",
  textEncoders: [clip, { ...clip, name: "text_encoder_2", tokenizer: "tokenizer_2" }],
  textStates: "penultimate",
  zeroNegative: true,
  upcastsAutoencoder: true,
  preview: stableDiffusionXlPreview,
  defaults: { steps: 50, guidanceScale: 5 },
  usage: usual,
}

/** Kolors (Kolors Team 2024): the denoiser of SDXL, taught with ChatGLM3 in place of CLIP. */
export const kolors: Family = {
  title: "Kolors",
  textEncoders: [{ ...clip, kind: "chatglm" }],
  textStates: "penultimate",
  zeroNegative: false,
  upcastsAutoencoder: true,
  preview: stableDiffusionXlPreview,
  defaults: { steps: 50, guidanceScale: 5 },
  usage: kolorsUsage,
}

const families = [stableDiffusion, stableDiffusionXl, kolors]

const INDEX = "model_index.json"
const TEXT_CONFIG = "text_encoder/config.json"

/** What says of a model of which family it is, by its names in the model's folder; not all models have both. */
export const identifyingFiles = [INDEX, TEXT_CONFIG] as const

/** A family, and what a model's index says beside its parts. */
export interface ModelIndex {
  readonly family: Family
  readonly zeroNegative: boolean
  /** The whole file, parsed. */
  readonly json: unknown
  /** Whether a safety checker belongs to it. */
  readonly checksSafety: boolean
}

/** Whether a folder holds a model: its index, or Kolors, which is known without one. */
export async function holdsModel(folder: string): Promise<boolean> {
  return (await exists(absolutePath(folder, INDEX))) || isKolors(folder)
}

/**
 * Reads of a folder's model which family it is of. The class names of pipelines vary between forks, and Kolors was first
 * published as an SDXL, so the parts decide: that its text encoder is ChatGLM, or else those that the index lists.
 * Throws a FormatError where a file is not what it should be, a LimnError where the parts are of no family that limn runs.
 */
export async function readModelIndex(folder: string): Promise<ModelIndex> {
  const path = absolutePath(folder, INDEX)
  const chatglm = await isKolors(folder)
  const index = chatglm && !(await exists(path)) ? {} : await readJsonObject(path)
  const family = chatglm ? kolors : familyOf(index, path)
  // An index for another pipeline says what that one does.
  const heeded = !chatglm || /^Kolors/.test(String(index._class_name))
  const says = heeded ? index.force_zeros_for_empty_prompt : undefined
  return {
    family,
    json: index,
    zeroNegative: typeof says === "boolean" ? says : family.zeroNegative,
    checksSafety: listedParts(index).includes(safetyCheckerFolders.network),
  }
}

/** Whether a folder holds Kolors: its text encoder is ChatGLM. */
export async function isKolors(folder: string): Promise<boolean> {
  const path = absolutePath(folder, TEXT_CONFIG)
  return (await exists(path)) && (await readJsonObject(path)).model_type === "chatglm"
}

function familyOf(index: Readonly<Record<string, unknown>>, path: string): Family {
  const parts = listedParts(index)
  const family = [stableDiffusion, stableDiffusionXl].findLast((one) =>
    partsOf(one).every((part) => parts.includes(part)),
  )
  const texts = parts.filter((part) => part.startsWith("text_encoder"))
  if (family !== undefined && texts.length <= family.textEncoders.length) return family
  const [last, ...others] = families.map((one) => `${one.title} (${partsOf(one).join(", ")})`).toReversed()
  throw new LimnError(
    `${path} describes a model of ${parts.join(", ")}; limn runs ${others.toReversed().join(", ")} and ${last}.`,
  )
}

/** The parts that an index gives a class for. */
function listedParts(index: Readonly<Record<string, unknown>>): string[] {
  return Object.entries(index)
    .filter(([, value]) => Array.isArray(value) && typeof value[0] === "string")
    .map(([name]) => name)
}

/** The folders in which a model's safety checker lies, where it has one. */
export const safetyCheckerFolders = { network: "safety_checker", pictures: "feature_extractor" } as const

/** The folders that a model of the family is made of. */
export function partsOf({ textEncoders }: Family): string[] {
  return [...textEncoders.flatMap(({ name, tokenizer }) => [tokenizer, name]), "unet", "vae", "scheduler"]
}

/** Those of its folders that hold weights. */
export function networksOf({ textEncoders }: Family): string[] {
  return [...textEncoders.map(({ name }) => name), "unet", "vae"]
}
