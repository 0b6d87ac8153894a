import type { Pixels } from "../ground/image.ts"
import { resizeImage } from "../ground/resize.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import { opaque } from "./image.ts"

/** Mean and deviation of red, green and blue in the pictures that CLIP learnt from, in [0, 1]. */
const mean = [0.48145466, 0.4578275, 0.40821073]
const deviation = [0.26862954, 0.26130258, 0.27577711]

/**
 * A picture as CLIP's image encoders take it: its shorter side made `size` pixels by a cubic filter, its middle cut out,
 * its colours normalised.   [1, 3, size, size]   Transparent parts become white. (transformers `CLIPImageProcessor`)
 */
export function clipPicture(picture: Pixels, size: number): Tensor<"float32"> {
  const { width, height } = picture
  const short = Math.min(width, height)
  const side = (pixels: number) => Math.trunc((size * pixels) / short)
  const resized = resizeImage(opaque(picture), side(width), side(height), "bicubic")
  const [left, top] = [resized.width, resized.height].map((pixels) => Math.floor((pixels - size) / 2))
  const values = new Float32Array(3 * size * size)
  for (let c = 0; c < 3; c++)
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        const value = resized.data[((top + y) * resized.width + left + x) * 3 + c] / 255
        values[(c * size + y) * size + x] = (value - mean[c]) / deviation[c]
      }
  return float32([1, 3, size, size], values)
}
