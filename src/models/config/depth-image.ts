import { roundHalfEven } from "../../ground/rounding.ts"
import { z } from "../../ground/schema.ts"
import { boolean, finiteNumber, oneOf, positiveInteger, positiveNumber, readConfig } from "./fields.ts"

/** How a picture becomes what a network for depth reads: transformers `DPTImageProcessor`. */
export interface DepthImageConfig {
  /** In pixels; with `keepsAspectRatio` one of the two is kept. */
  readonly width: number
  readonly height: number
  /** Whether the sides stay in proportion: both are scaled by the factor of the two that changes the picture less. */
  readonly keepsAspectRatio: boolean
  /** Sides are rounded to multiples of this. */
  readonly multiple: number
  /** Of each colour, 0 to 255. */
  readonly mean: readonly [number, number, number]
  readonly deviation: readonly [number, number, number]
}

const MAX_SIDE = 4096
const pixelCount = positiveInteger.max(MAX_SIDE, { error: `limn supports up to ${MAX_SIDE} pixels` })
const colours = <T extends z.ZodType>(each: T) => z.tuple([each, each, each])
const always = oneOf(true).default(true)

const depthJson = z.object({
  // A number in files from before transformers had sides apart.
  size: z
    .union(
      [
        pixelCount.transform((side) => ({ height: side, width: side })),
        z.object({ height: pixelCount, width: pixelCount }),
      ],
      {
        error: `limn needs a height and a width of 1 to ${MAX_SIDE} pixels`,
      },
    )
    .default({ height: 384, width: 384 }),
  keep_aspect_ratio: boolean.default(false),
  ensure_multiple_of: pixelCount.default(1),
  /** Pillow's number of the bicubic filter. */
  resample: oneOf(3).default(3),
  image_mean: colours(finiteNumber).default([0.5, 0.5, 0.5]),
  image_std: colours(positiveNumber).default([0.5, 0.5, 0.5]),
  rescale_factor: positiveNumber.default(1 / 255),
  do_resize: always,
  do_rescale: always,
  do_normalize: always,
  do_pad: oneOf(false, null).default(false),
})

/**
 * The configuration of a transformers `DPTImageProcessor` (once `DPTFeatureExtractor`) from its parsed
 * preprocessor_config.json; `source` names that file in errors.
 * Throws a FormatError where a key is malformed, or asks for what limn does not do.
 */
export function depthImageConfig(json: unknown, source: string): DepthImageConfig {
  const raw = readConfig(depthJson, json, source, "DPTImageProcessor")
  const inBytes = ([r, g, b]: readonly [number, number, number]) =>
    [r / raw.rescale_factor, g / raw.rescale_factor, b / raw.rescale_factor] as const
  return {
    ...raw.size,
    keepsAspectRatio: raw.keep_aspect_ratio,
    multiple: raw.ensure_multiple_of,
    mean: inBytes(raw.image_mean),
    deviation: inBytes(raw.image_std),
  }
}

/** How MiDaS' and Depth Anything's networks read pictures where nothing says it: the colours of ImageNet. */
export const publishedDepthImage: DepthImageConfig = depthImageConfig(
  {
    size: 518,
    keep_aspect_ratio: true,
    ensure_multiple_of: 14,
    image_mean: [0.485, 0.456, 0.406],
    image_std: [0.229, 0.224, 0.225],
  },
  "Depth Anything",
)

/** The size in pixels at which a picture of another one is read (transformers `get_resize_output_image_size`). */
export function depthImageSize(
  config: DepthImageConfig,
  picture: { readonly width: number; readonly height: number },
): { readonly width: number; readonly height: number } {
  const scales = { across: config.width / picture.width, down: config.height / picture.height }
  const less = Math.abs(1 - scales.across) < Math.abs(1 - scales.down) ? scales.across : scales.down
  const side = (length: number, scale: number) => {
    const scaled = (config.keepsAspectRatio ? less : scale) * length
    // No side vanishes, as those of very long pictures would.
    return Math.max(1, roundHalfEven(scaled / config.multiple)) * config.multiple
  }
  return { width: side(picture.width, scales.across), height: side(picture.height, scales.down) }
}
