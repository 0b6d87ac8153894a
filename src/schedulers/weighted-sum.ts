import { UsageError } from "../ground/errors.ts"
import { formatShape, sameShape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { tensor } from "../ground/tensor.ts"

/** One number for all, or one for each row of the first axis. */
export type Weight = number | readonly number[]

/**
 * a x + b y + ... over tensors of one shape: every formula of this room ends in one. Sums in double precision and
 * rounds once. Throws a UsageError where shapes differ, or where a list of weights is not one per row.
 */
export function weightedSum(
  ...terms: readonly (readonly [weight: Weight, of: Tensor<"float32">])[]
): Tensor<"float32"> {
  const { shape, data } = terms[0][1]
  const rows = shape[0] ?? 1
  const rowSize = data.length / rows
  const sum = new Float64Array(data.length)
  for (const [weight, of] of terms) {
    if (!sameShape(of.shape, shape))
      throw new UsageError(
        `Shapes ${formatShape(shape)} and ${formatShape(of.shape)} differ; give sample, model output and noise one shape.`,
      )
    if (typeof weight !== "number" && weight.length !== rows)
      throw new UsageError(`${weight.length} timesteps do not fit ${rows} samples; give one for each.`)
    for (let row = 0; row < rows; row++) {
      const w = typeof weight === "number" ? weight : weight[row]
      for (let i = row * rowSize; i < (row + 1) * rowSize; i++) sum[i] += w * of.data[i]
    }
  }
  return tensor("float32", shape, Float32Array.from(sum))
}
