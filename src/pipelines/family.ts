import { absolutePath } from "#platform"
import { FormatError, LimnError } from "../ground/errors.ts"
import type { ModelDefaults } from "./defaults.ts"
import { readJson } from "./files.ts"
import type { PreviewFactors } from "./preview-factors.ts"
import { stableDiffusionPreview, stableDiffusionXlPreview } from "./preview-factors.ts"

/** What sets one family of models apart, beyond what the configurations of their parts say. */
export interface Family {
  /** As people call it. */
  readonly title: string
  /** The text encoders in the order in which their states are joined, each with its tokenizer. */
  readonly textEncoders: readonly { readonly name: string; readonly tokenizer: string }[]
  /**
   * Which states of CLIP the denoiser reads: the last after the final normalisation (SD 1.x), or the one before the
   * last as it is, so that a whole layer is left out already (SDXL).
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
}

const clip = { name: "text_encoder", tokenizer: "tokenizer" }

/** Stable Diffusion 1.x (Rombach et al. 2022). */
export const stableDiffusion: Family = {
  title: "Stable Diffusion 1.x",
  textEncoders: [clip],
  textStates: "last",
  zeroNegative: false,
  upcastsAutoencoder: false,
  preview: stableDiffusionPreview,
  defaults: { steps: 50, guidanceScale: 7.5 },
}

/** SDXL (Podell et al. 2023) and SDXL-Turbo. */
export const stableDiffusionXl: Family = {
  title: "Stable Diffusion XL",
  textEncoders: [clip, { name: "text_encoder_2", tokenizer: "tokenizer_2" }],
  textStates: "penultimate",
  zeroNegative: true,
  upcastsAutoencoder: true,
  preview: stableDiffusionXlPreview,
  defaults: { steps: 50, guidanceScale: 5 },
}

const families = [stableDiffusion, stableDiffusionXl]

/** A family, and what a model's index says beside its parts. */
export interface ModelIndex {
  readonly family: Family
  readonly zeroNegative: boolean
  /** The whole file, parsed. */
  readonly json: unknown
  /** Whether a safety checker belongs to it. */
  readonly checksSafety: boolean
}

/**
 * Reads a folder's model_index.json. The class names of pipelines vary between forks, so the parts decide.
 * Throws a FormatError where it is no such file, a LimnError where the parts are of no family that limn runs.
 */
export async function readModelIndex(folder: string): Promise<ModelIndex> {
  const path = absolutePath(folder, "model_index.json")
  const index = await readJson(path)
  if (typeof index !== "object" || index === null)
    throw new FormatError(`${path} is not a JSON object; fetch it again.`)
  const parts = Object.entries(index)
    .filter(([, value]) => Array.isArray(value) && typeof value[0] === "string")
    .map(([name]) => name)
  const family = families.findLast((one) => partsOf(one).every((part) => parts.includes(part)))
  if (
    family === undefined ||
    parts.filter((part) => part.startsWith("text_encoder")).length > family.textEncoders.length
  )
    throw new LimnError(
      `${path} describes a model of ${parts.join(", ")}; limn runs ${families.map((one) => `${one.title} (${partsOf(one).join(", ")})`).join(" and ")}.`,
    )
  const says = (index as Readonly<Record<string, unknown>>).force_zeros_for_empty_prompt
  return {
    family,
    json: index,
    zeroNegative: typeof says === "boolean" ? says : family.zeroNegative,
    checksSafety: parts.includes(safetyCheckerFolders.network),
  }
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
