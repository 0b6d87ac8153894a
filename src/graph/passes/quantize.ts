import type { BlockFormat } from "../../ground/block-integers.ts"
import { order } from "../build.ts"
import { node, withInputs } from "../node.ts"
import type { Value } from "../value.ts"
import { isOp } from "../value.ts"
import type { Weights } from "../weights.ts"
import { pieceOf } from "./weight-piece.ts"

/** Full names of the matrices [Out, In] of linear layers that can be stored in blocks of this size along their rows. */
export function quantizableWeights(
  outputs: Readonly<Record<string, Value>>,
  { blockSize }: Pick<BlockFormat, "blockSize">,
): string[] {
  const names = new Set<string>()
  for (const value of order(Object.values(outputs))) {
    const name = linearWeight(value)?.name
    if (name !== undefined && value.inputs[1].shape[1] % blockSize === 0) names.add(name)
  }
  return [...names]
}

/**
 * The same outputs, with the products of linear layers over integers. `quantized` holds for a weight `name` of the graph the
 * tensors `name.integers` (uint8 [Out, In / blockSize, blockSize * bits / 8]) and `name.scales` (float32 [Out, In /
 * blockSize]); a layer whose weight it has not stays as it is. Comes after `updateWeights`.
 */
export function quantizeProducts(
  outputs: Readonly<Record<string, Value>>,
  quantized: Weights,
  { bits, blockSize }: BlockFormat,
): Record<string, Value> {
  const made = new Map<Value, Value>()
  for (const value of order(Object.values(outputs))) {
    const inputs = value.inputs.map((x) => made.get(x)!)
    const weight = linearWeight(value)
    if (weight !== undefined && quantized.has(weight.name)) {
      const folder = quantized.at(weight.name)
      const rows = weight.rows ? folder.rows(...weight.rows) : folder
      const [integers] = rows.get("integers").inputs // behind the cast to float32 that weights come with
      made.set(value, node("quantizedMatmul", [inputs[0], integers, rows.get("scales")], { bits, blockSize }))
    } else {
      made.set(value, withInputs(value, inputs))
    }
  }
  return Object.fromEntries(Object.entries(outputs).map(([name, value]) => [name, made.get(value)!]))
}

/** The weight of a linear layer's product, where that is what a value is. */
function linearWeight(value: Value): ReturnType<typeof pieceOf> {
  if (!isOp(value, "matmul")) return undefined
  const { transA, transB, scale } = value.attributes
  const [, weight] = value.inputs
  return !transA && transB && scale === 1 && weight.shape.length === 2 ? pieceOf(weight) : undefined
}
