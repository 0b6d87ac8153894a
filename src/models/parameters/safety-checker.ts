import type { ClipVisionConfig } from "../config/clip-vision.ts"
import { clipVisionParameters } from "./clip-vision.ts"
import { normal } from "./layers.ts"
import type { ParameterSpec } from "./module.ts"
import { parametersOf } from "./module.ts"

/** What the class counts, whatever the configuration. */
const CONCEPTS = 17
const SPECIAL_CARE = 3

/** Every tensor of a diffusers `StableDiffusionSafetyChecker` of this configuration, as `renameSafetyCheckerKey` names them. */
export function safetyCheckerParameters(config: ClipVisionConfig): ParameterSpec[] {
  const { projectionDim: width } = config
  const fixed = parametersOf({
    concept_embeds: normal([CONCEPTS, width], 1),
    concept_embeds_weights: normal([CONCEPTS], 1),
    special_care_embeds: normal([SPECIAL_CARE, width], 1),
    special_care_embeds_weights: normal([SPECIAL_CARE], 1),
  })
  return [...clipVisionParameters(config), ...fixed]
}
