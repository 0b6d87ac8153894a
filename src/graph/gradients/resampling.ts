import { zeros } from "../../ground/tensor.ts"
import { constant } from "../node.ts"
import { matmul, reduceSum, reshape, transpose } from "../ops/index.ts"
import type { Value } from "../value.ts"

/** Nearest enlargement's gradient: every source pixel gathers what its copies got. */
export function upsampleNearestGradient(
  g: Value,
  { inputs: [x], attributes }: Value<"upsampleNearest">,
): Value[] {
  const { height, width } = attributes
  const [b, c, h, w] = x.shape
  if (height % h === 0 && width % w === 0)
    return [reduceSum(reshape(g, [b, c, h, height / h, w, width / w]), [3, 5])]
  // Sizes that do not divide: one product with a matrix of ones and zeros for each direction.
  const lines = matmul(reshape(g, [b * c * height, width]), constant(sources(width, w)))
  const swapped = reshape(lines, [b * c, height, w])
  const columns = matmul(swapped, constant(sources(height, h)), { transA: true }) // [BC, w, h]
  return [reshape(transpose(columns, [0, 2, 1]), x.shape)]
}

/** [to, from]: row y has its one at the pixel that y copies. */
function sources(to: number, from: number) {
  const matrix = zeros("float32", [to, from])
  for (let y = 0; y < to; y++) matrix.data[y * from + Math.floor((y * from) / to)] = 1
  return matrix
}
