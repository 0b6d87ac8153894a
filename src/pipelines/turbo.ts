import type { ModelDefaults } from "./defaults.ts"
import type { Family } from "./family.ts"
import { stableDiffusionXl } from "./family.ts"

/** How SDXL-Turbo and SD-Turbo were taught to draw (adversarial diffusion distillation, Sauer et al. 2023). */
const turbo = { steps: 1, guidanceScale: 0 }

/** What a folder says of its model beside the weights: parsed files, none believed yet. */
export interface FolderFacts {
  readonly family: Family
  /** What it was asked for by: its folder's name, or its name on the Hub. */
  readonly name: string
  readonly index: unknown
  readonly unet: unknown
  readonly scheduler: unknown
}

/** Whether one of these names of a model says that it is a Turbo. */
export function namesTurbo(names: readonly unknown[]): boolean {
  return names.some((name) => typeof name === "string" && /turbo/i.test(name))
}

/** The defaults of a family, with the steps and the guidance of Turbo where the model is one. */
export function withTurbo(defaults: ModelDefaults, isTurbo: boolean): ModelDefaults {
  return isTurbo ? { ...defaults, ...turbo } : defaults
}

/**
 * Whether a folder holds a Turbo, which no file of it says outright. Its scheduler must be Euler's, plain or ancestral,
 * with trailing timesteps, as of all models that draw in one step. Then its name decides, or one that its files remember;
 * and SDXL with ancestral steps and latents of 64 x 64 is SDXL-Turbo whatever it is called.
 */
export function isTurboFolder({ family, name, index, unet, scheduler }: FolderFacts): boolean {
  const walk = field(scheduler, "_class_name")
  const ancestral = walk === "EulerAncestralDiscreteScheduler"
  if (field(scheduler, "timestep_spacing") !== "trailing") return false
  if (!ancestral && walk !== "EulerDiscreteScheduler") return false
  if (namesTurbo([name, field(index, "_name_or_path"), field(unet, "_name_or_path")])) return true
  return ancestral && family === stableDiffusionXl && field(unet, "sample_size") === 64
}

function field(json: unknown, key: string): unknown {
  return typeof json === "object" && json !== null
    ? (json as Readonly<Record<string, unknown>>)[key]
    : undefined
}
