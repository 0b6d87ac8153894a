import type { Tensor } from "../tensor.ts"
import { float32 } from "../tensor.ts"
import type { RandomSource } from "./source.ts"

/**
 * Normal numbers on the way from those of one source to those of another: the first's at a share of 0, the second's at 1,
 * bit for bit, and between them what `slerp` says. Both streams move on with every draw.
 */
export function variation(from: RandomSource, to: RandomSource, share: number): RandomSource {
  return { randn: (shape) => slerp(from.randn(shape), to.randn(shape), share) }
}

/**
 * Spherical interpolation (Shoemake 1985) of normal numbers [..., H, W], after which they are as large as before. Angles
 * are taken between the columns [H] of the two, as web tools take them for their variation seeds.
 *
 *   sin((1 - t) w) / sin w  a  +  sin(t w) / sin w  b        cos w = a b / |a| |b|
 *
 * Columns without an angle between them, such as those of a single number, are mixed in a straight line.
 */
export function slerp(a: Tensor<"float32">, b: Tensor<"float32">, t: number): Tensor<"float32"> {
  if (t === 0) return a
  if (t === 1) return b
  const [height, width] = a.shape.slice(-2)
  const data = new Float32Array(a.data.length)
  for (let start = 0; start < data.length; start += height * width)
    for (let column = start; column < start + width; column++) {
      const end = column + height * width
      let [dot, squareA, squareB] = [0, 0, 0]
      for (let i = column; i < end; i += width) {
        dot += a.data[i] * b.data[i]
        squareA += a.data[i] ** 2
        squareB += b.data[i] ** 2
      }
      const sineSquared = 1 - dot ** 2 / (squareA * squareB)
      const angle = Math.acos(dot / Math.sqrt(squareA * squareB))
      const [shareA, shareB] =
        sineSquared > SMALLEST
          ? [Math.sin((1 - t) * angle) / Math.sin(angle), Math.sin(t * angle) / Math.sin(angle)]
          : [1 - t, t]
      for (let i = column; i < end; i += width) data[i] = shareA * a.data[i] + shareB * b.data[i]
    }
  return float32(a.shape, data)
}

/** Squared sine of an angle below which two columns are one line: rounding decides the rest. */
const SMALLEST = 1e-6
