import type { Pixels } from "../ground/image.ts"
import { resizeImage } from "../ground/resize.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import type { ClipImageConfig } from "../models/config/clip-image.ts"
import { opaque } from "./image.ts"

/**
 * A picture as CLIP reads it, resized by the bicubic filter and cut out of the middle: [1, 3, S, S], normalised
 * (transformers `CLIPImageProcessor`, as it computes with Pillow).
 */
export function clipPixels(picture: Pixels, config: ClipImageConfig): Tensor<"float32"> {
  const { shortestEdge, cropSize: side, mean, deviation } = config
  const shorter = Math.min(picture.width, picture.height)
  const scaled = (length: number) => Math.trunc((shortestEdge * length) / shorter)
  const { width, height, data } = resizeImage(
    opaque(picture),
    scaled(picture.width),
    scaled(picture.height),
    "bicubic",
  )
  const left = Math.floor((width - side) / 2)
  const top = Math.floor((height - side) / 2)
  const values = new Float32Array(3 * side * side)
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < side; y++)
      for (let x = 0; x < side; x++) {
        const share = Math.fround(data[3 * ((top + y) * width + left + x) + c] / 255)
        values[(c * side + y) * side + x] = (share - mean[c]) / deviation[c]
      }
  return float32([1, 3, side, side], values)
}
