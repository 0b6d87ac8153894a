import type { Tensor } from "../ground/tensor.ts"
import { tensor } from "../ground/tensor.ts"

/** The keys of dynamic thresholding. */
export interface Thresholding {
  readonly dynamic_thresholding_ratio: number
  readonly sample_max_value: number
}

/** The keys of both ways to hold x0 within a range. */
export interface Clipping extends Thresholding {
  readonly thresholding: boolean
  readonly clip_sample: boolean
  readonly clip_sample_range: number
}

/** x0 as the configuration wants it: by dynamic thresholding, clipped, or as it is. */
export function withinRange(x0: Tensor<"float32">, config: Clipping): Tensor<"float32"> {
  if (config.thresholding) return threshold(x0, config)
  return config.clip_sample ? clip(x0, config.clip_sample_range) : x0
}

/** x0 held within +-range. */
export function clip(x0: Tensor<"float32">, range: number): Tensor<"float32"> {
  return tensor(
    "float32",
    x0.shape,
    x0.data.map((x) => Math.min(Math.max(x, -range), range)),
  )
}

/**
 * Dynamic thresholding (Imagen, Saharia 2022): s is the quantile of |x0| in each sample, held within 1 and the
 * maximum; x0 is clipped to +-s and divided by s.
 */
export function threshold(x0: Tensor<"float32">, config: Thresholding): Tensor<"float32"> {
  const rows = x0.shape[0]
  const size = x0.data.length / rows
  const out = new Float32Array(x0.data.length)
  for (let row = 0; row < rows; row++) {
    const values = x0.data.subarray(row * size, (row + 1) * size)
    const s = Math.min(
      Math.max(quantile(values.map(Math.abs), config.dynamic_thresholding_ratio), 1),
      config.sample_max_value,
    )
    out.set(
      values.map((x) => Math.min(Math.max(x, -s), s) / s),
      row * size,
    )
  }
  return tensor("float32", x0.shape, out)
}

/** `torch.quantile`: by straight lines between the sorted values. Sorts in place. */
function quantile(values: Float32Array, share: number): number {
  values.sort()
  const rank = Math.fround(share * (values.length - 1))
  const low = Math.floor(rank)
  const high = Math.ceil(rank)
  return values[low] + (values[high] - values[low]) * (rank - low)
}
