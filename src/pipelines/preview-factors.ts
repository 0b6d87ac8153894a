import { FormatError } from "../ground/errors.ts"

/**
 * A linear map from latents to colours in [-1, 1]: red, green and blue for each channel of the latents, and a last row
 * that is added.
 */
export type PreviewFactors = readonly (readonly [red: number, green: number, blue: number])[]

/** For latents of Stable Diffusion 1.x: nearest to what TAESD decodes (reference/preview.py). */
export const stableDiffusionPreview: PreviewFactors = [
  [0.3063, 0.1961, 0.1882],
  [0.1873, 0.2733, 0.0641],
  [-0.2462, 0.184, 0.1896],
  [-0.173, -0.2405, -0.5421],
  [0.0234, -0.1048, -0.1688],
]

/** For latents of SDXL. */
export const stableDiffusionXlPreview: PreviewFactors = [
  [0.3997, 0.4206, 0.4266],
  [-0.2272, 0.1339, 0.1086],
  [0.1095, 0.2335, -0.112],
  [-0.3776, -0.2771, -0.3076],
  [0.118, -0.081, 0.0146],
]

/**
 * Which factors fit a model's latents: those that it brings along, else its family's where they are for as many
 * channels.
 * Throws a FormatError where its own are not; `source` names the model.
 */
export function choosePreview(
  own: PreviewFactors | undefined,
  family: PreviewFactors,
  channels: number,
  source: string,
): PreviewFactors | undefined {
  if (own !== undefined && own.length !== channels + 1)
    throw new FormatError(
      `The "preview" in the limn.json of ${source} has ${own.length} rows, and its latents need ${channels + 1}, one for each channel and one more; mend it or take it away.`,
    )
  return own ?? (family.length === channels + 1 ? family : undefined)
}
