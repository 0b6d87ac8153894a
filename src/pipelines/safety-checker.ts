import { absolutePath, exists } from "#platform"
import { LimnError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import type { ClipImageConfig } from "../models/config/clip-image.ts"
import { clipImageConfig } from "../models/config/clip-image.ts"
import { clipVisionConfig } from "../models/config/clip-vision.ts"
import { safetyCheckerParameters } from "../models/parameters/safety-checker.ts"
import { isUnsafe, renameSafetyCheckerKey, safetyMargins } from "../models/safety-checker.ts"
import { clipPixels } from "./clip-pixels.ts"
import type { Component } from "./component.ts"
import { checkAllRead, componentWeights, openComponent } from "./component.ts"
import { safetyCheckerFolders } from "./family.ts"
import { readJson } from "./files.ts"
import type { Network, NetworkOptions } from "./network.ts"
import { network } from "./network.ts"

/** What a checkpoint's safety checker is loaded from. */
export interface SafetyCheckerFiles {
  readonly component: Component
  /** preprocessor_config.json, parsed and not yet believed, and where it lies. */
  readonly pictures: { readonly json: unknown; readonly path: string }
}

/** Looks at pictures and says which its makers do not want shown (diffusers `StableDiffusionSafetyChecker`). */
export interface SafetyChecker {
  readonly pictures: ClipImageConfig
  /** `pixels` [1, 3, S, S] -> `specialCare` [1, 3] and `concepts` [1, 17], see `safetyMargins`. */
  readonly network: Network
}

/** A safety checker whose graph is loaded. */
export interface OpenSafetyChecker {
  /** For each picture whether it is to be withheld. */
  check(pictures: readonly Pixels[]): Promise<boolean[]>
  /** Lets the graph be unloaded when room is needed. */
  release(): void
}

/** Finds the safety checker of a model's folder. Throws a LimnError where a file is missing, a FormatError for a broken one. */
export async function findSafetyChecker(folder: string, variant?: string): Promise<SafetyCheckerFiles> {
  const place = absolutePath(folder, safetyCheckerFolders.network)
  const path = absolutePath(folder, safetyCheckerFolders.pictures, "preprocessor_config.json")
  for (const needed of [absolutePath(place, "config.json"), path])
    if (!(await exists(needed)))
      throw new LimnError(
        `${folder} has a safety checker by its model_index.json, and ${needed} is not there; fetch it, or load the model without: safetyChecker: false, --no-safety-checker.`,
      )
  const component = await openComponent(place, { variant, rename: renameSafetyCheckerKey })
  return { component, pictures: { json: await readJson(path), path } }
}

/**
 * A safety checker from its files; no weight is read until it is opened. It runs in float32 whatever the model runs in,
 * since it decides by thousandths. Throws a FormatError where its files do not belong together.
 */
export function safetyChecker(
  { component, pictures }: SafetyCheckerFiles,
  running: NetworkOptions,
): SafetyChecker {
  const config = clipVisionConfig(component.config, absolutePath(component.path, "config.json"))
  const weights = componentWeights(component, safetyCheckerParameters(config))
  return {
    pictures: clipImageConfig(pictures.json, pictures.path, config.imageSize),
    network: network(
      (inputs) => {
        const w = weights()
        const { specialCare, concepts } = safetyMargins(inputs.pixels, w, config)
        checkAllRead(w)
        return { specialCare, concepts }
      },
      { ...running, precision: "fp32" },
    ),
  }
}

/** The checker's graph, loaded until released. */
export async function openSafetyChecker(checker: SafetyChecker): Promise<OpenSafetyChecker> {
  const { cropSize } = checker.pictures
  const shape = [1, 3, cropSize, cropSize]
  const opened = await checker.network.open({ pixels: { dtype: "float32", shape } })
  return {
    release: opened.release,
    async check(given) {
      const unsafe: boolean[] = []
      for (const picture of given) {
        const margins = await opened.run({ pixels: clipPixels(picture, checker.pictures) })
        const { specialCare, concepts } = margins as Record<string, Tensor<"float32">>
        unsafe.push(isUnsafe(specialCare.data, concepts.data))
      }
      return unsafe
    },
  }
}

/** What stands for a picture that is withheld: a black one of its size. */
export function blackened({ width, height, channels }: Omit<Pixels, "data">): Pixels {
  return pixels(width, height, channels, new Uint8Array(width * height * channels))
}

/** A sentence about the pictures that were withheld, where there are any. */
export function withheldWarnings(withheld: readonly boolean[]): string[] {
  const count = withheld.filter(Boolean).length
  if (count === 0) return []
  const which =
    withheld.length === 1
      ? "the picture"
      : count === withheld.length
        ? `all ${count} pictures`
        : `picture ${withheld.flatMap((one, i) => (one ? [i + 1] : [])).join(", ")} of ${withheld.length}`
  return [
    `The model's safety checker withheld ${which}, and gave black instead; try another seed or prompt, or load the model without the checker.`,
  ]
}
