import { z } from "../../ground/schema.ts"
import { finiteNumber, keyError, oneOf, positiveInteger, positiveNumber, readConfig } from "./fields.ts"

/** How a picture becomes what CLIP's vision transformer reads: transformers `CLIPImageProcessor`. */
export interface ClipImageConfig {
  /** The shorter side after resizing, in pixels. */
  readonly shortestEdge: number
  /** Sides of the square that is cut from the middle, in pixels. */
  readonly cropSize: number
  /** Of each colour in [0, 1]. */
  readonly mean: readonly [number, number, number]
  readonly deviation: readonly [number, number, number]
}

const colours = <T extends z.ZodType>(each: T) => z.tuple([each, each, each])
const always = oneOf(true).default(true)

const imageJson = z.object({
  // A number in files from before transformers could resize in other ways.
  size: z.union([positiveInteger, z.object({ shortest_edge: positiveInteger })]).default(224),
  crop_size: z
    .union([positiveInteger, z.object({ height: positiveInteger, width: positiveInteger })])
    .default(224),
  /** Pillow's number of the bicubic filter. */
  resample: oneOf(3).default(3),
  image_mean: colours(finiteNumber).default([0.48145466, 0.4578275, 0.40821073]),
  image_std: colours(positiveNumber).default([0.26862954, 0.26130258, 0.27577711]),
  rescale_factor: oneOf(1 / 255).default(1 / 255),
  do_resize: always,
  do_center_crop: always,
  do_rescale: always,
  do_normalize: always,
})

/**
 * The configuration of a transformers `CLIPImageProcessor` (once `CLIPFeatureExtractor`) from its parsed
 * preprocessor_config.json; `source` names that file in errors. `imageSize` is what the model reads, in pixels.
 * Throws a FormatError where a key is malformed, asks for what limn does not do, or does not suit the model.
 */
export function clipImageConfig(json: unknown, source: string, imageSize: number): ClipImageConfig {
  const raw = readConfig(imageJson, json, source, "CLIPImageProcessor")
  const { size, crop_size: crop } = raw
  const [height, width] = typeof crop === "number" ? [crop, crop] : [crop.height, crop.width]
  if (height !== imageSize || width !== imageSize)
    throw keyError(source, "crop_size", crop, `the model reads pictures of ${imageSize}x${imageSize}`)
  const shortestEdge = typeof size === "number" ? size : size.shortest_edge
  if (shortestEdge < imageSize)
    throw keyError(source, "size", size, `limn cuts out of larger pictures, and "crop_size" is ${imageSize}`)
  return { shortestEdge, cropSize: imageSize, mean: raw.image_mean, deviation: raw.image_std }
}

/** How pictures become what CLIP's published vision transformers read, of `imageSize` pixels. */
export function publishedClipImage(imageSize: number): ClipImageConfig {
  return clipImageConfig({ size: imageSize, crop_size: imageSize }, "CLIP", imageSize)
}
