import type { OnnxSignature } from "../formats/onnx.ts"
import { warpAffine } from "../ground/bilinear.ts"
import type { Pixels } from "../ground/image.ts"
import type { Point } from "../ground/similarity.ts"
import { similarityTransform } from "../ground/similarity.ts"

/** Pixels of the frame that the places below are in. */
const FRAME = 112

/** Where the points of a face lie in front of ArcFace's networks: eyes, nose, corners of the mouth. */
const places: readonly Point[] = [
  [38.2946, 51.6963],
  [73.5318, 51.5014],
  [56.0252, 71.7366],
  [41.5493, 92.3655],
  [70.7299, 92.2041],
]

/**
 * A face turned upright and scaled into a square of `size` pixels (ArcFace, Deng et al. 2019; insightface `norm_crop`).
 * Throws a LimnError where its points are all one.
 */
export function alignedFace(picture: Pixels, points: readonly Point[], size: number): Pixels {
  const ratio = size / FRAME
  const wanted = places.map(
    ([x, y]): Point => [Math.fround(Math.fround(x) * ratio), Math.fround(Math.fround(y) * ratio)],
  )
  return warpAffine(picture, similarityTransform(points, wanted), size, size)
}

/**
 * The side in pixels of the faces that a network recognises, or undefined for one that does not look like it, by the rule
 * of insightface's `model_zoo`: one square picture, but for 192 pixels, which networks for landmarks take.
 */
export function recognitionSize({ inputs, outputs }: OnnxSignature): number | undefined {
  const [, channels, height, width] = inputs[0]?.shape ?? []
  const fits = inputs.length === 1 && outputs.length === 1 && channels === 3 && height === width
  if (!fits || typeof height !== "number") return undefined
  return height >= FRAME && height % 16 === 0 && height !== 192 ? height : undefined
}
