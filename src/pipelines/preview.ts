import { UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import { pixelsFromTensor } from "./image.ts"
import type { Model } from "./model.ts"
import type { PreviewFactors } from "./preview-factors.ts"
import { rowsOf } from "./rows.ts"

/**
 * Small pictures of latents [B, C, h, w], such as `predOriginalSample` of a step, by a linear map: a pixel for each
 * place, h x w in all, in no time and without further weights.
 * Throws a UsageError where no map is known for the model's latents.
 */
export function linearPreview(
  { preview, path }: Pick<Model, "preview" | "path">,
  latents: Tensor<"float32">,
): Pixels[] {
  if (preview === undefined)
    throw new UsageError(
      `${path} says nothing of its latents' colours; put "preview" into its limn.json, or decode the latents.`,
    )
  return Array.from({ length: latents.shape[0] }, (_, row) => colours(rowsOf(latents, row, row + 1), preview))
}

function colours({ shape: [, channels, height, width], data }: Tensor<"float32">, factors: PreviewFactors) {
  const size = height * width
  const image = new Float32Array(3 * size)
  for (let colour = 0; colour < 3; colour++)
    for (let i = 0; i < size; i++) {
      let value = factors[channels][colour]
      for (let c = 0; c < channels; c++) value += data[c * size + i] * factors[c][colour]
      image[colour * size + i] = value
    }
  return pixelsFromTensor(float32([1, 3, height, width], image))
}
