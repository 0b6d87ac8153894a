import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import { rowsOf } from "./rows.ts"

/**
 * Classifier-free guidance (Ho & Salimans 2022): away from what the model predicts for the negative prompt.
 *   predictions [2 B, ...], for the negative prompts and then for the prompts   ->   [B, ...]
 * `rescale` in [0, 1] draws each sample's deviation back to that of its unguided prediction (Lin et al. 2023,
 * "Common Diffusion Noise Schedules and Sample Steps are Flawed"; diffusers `rescale_noise_cfg`).
 */
export function guide(predictions: Tensor<"float32">, scale: number, rescale = 0): Tensor<"float32"> {
  const batch = predictions.shape[0] / 2
  const negative = rowsOf(predictions, 0, batch)
  const positive = rowsOf(predictions, batch, 2 * batch)
  // Rounded after each operation, as torch computes in float32.
  const factor = Math.fround(scale)
  const guided = float32(
    negative.shape,
    positive.data.map((p, i) => {
      const n = negative.data[i]
      return n + Math.fround(factor * Math.fround(p - n))
    }),
  )
  if (rescale > 0)
    for (let b = 0; b < batch; b++)
      rescaleRow(rowsOf(guided, b, b + 1).data, rowsOf(positive, b, b + 1).data, rescale)
  return guided
}

function rescaleRow(guided: Float32Array, positive: Float32Array, rescale: number): void {
  const ratio = deviation(positive) / deviation(guided)
  for (let i = 0; i < guided.length; i++)
    guided[i] = rescale * Math.fround(guided[i] * ratio) + (1 - rescale) * guided[i]
}

/** The unbiased standard deviation, as torch's `std`. */
function deviation(values: Float32Array): number {
  let sum = 0
  for (const v of values) sum += v
  const mean = sum / values.length
  let squares = 0
  for (const v of values) squares += (v - mean) ** 2
  return Math.sqrt(squares / (values.length - 1))
}
