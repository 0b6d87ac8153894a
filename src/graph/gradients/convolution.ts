import { node } from "../node.ts"
import { concat, convolve, matmul, pad, reduceSum, reshape, slice, transpose } from "../ops/index.ts"
import type { Value } from "../value.ts"

/**
 * A convolution's gradients.
 *   in x: stride 1 is a convolution of g with the weight flipped and its channels swapped, which runs twice as
 *         fast as the transposed convolution that other strides need;
 *   in w: for each place of the kernel a matrix product of g with the picture shifted by that place, several times
 *         as fast as the convolution with swapped axes that textbooks write.
 */
export function convolutionGradient(g: Value, value: Value<"conv2d">): (Value | null)[] {
  const [x, w, bias] = value.inputs
  const gradients = [inputGradient(g, x, w, value.attributes), weightGradient(g, x, w, value.attributes)]
  return bias ? [...gradients, reduceSum(g, [0, 2, 3])] : gradients
}

function inputGradient(
  g: Value,
  x: Value,
  w: Value,
  { stride, padding }: Value<"conv2d">["attributes"],
): Value {
  const [out, channels, kh, kw] = w.shape
  const [, , height, width] = x.shape
  const [top, left, bottom, right] = padding
  const flat = Math.max(top, bottom) < kh && Math.max(left, right) < kw
  if (stride === 1 && flat) {
    const places = transpose(reshape(w, [out, channels, kh * kw]), [2, 0, 1])
    // Backwards through a kernel's places in reading order is both of its axes flipped.
    const flipped = kh * kw === 1 ? places : slice(places, 0, kh * kw - 1, -1, -1)
    return convolve(g, reshape(transpose(flipped, [2, 1, 0]), [channels, out, kh, kw]), undefined, {
      padding: [kh - 1 - top, kw - 1 - left, kh - 1 - bottom, kw - 1 - right],
    })
  }
  const [, , outHeight, outWidth] = g.shape
  const outputPadding = [
    height - ((outHeight - 1) * stride - top - bottom + kh),
    width - ((outWidth - 1) * stride - left - right + kw),
  ] as const
  return node("convTranspose2d", [g, w], { stride, padding, outputPadding })
}

function weightGradient(
  g: Value,
  x: Value,
  w: Value,
  { stride, padding }: Value<"conv2d">["attributes"],
): Value {
  const [out, channels, kh, kw] = w.shape
  const [b, , outHeight, outWidth] = g.shape
  const [top, left, bottom, right] = padding
  const rows = b * outHeight * outWidth
  // Channels last, so that each shifted copy moves whole runs of channels.
  const padded = pad(transpose(x, [0, 2, 3, 1]), [0, top, left, 0], [0, bottom, right, 0])
  const gradients = reshape(transpose(g, [1, 0, 2, 3]), [out, rows])
  const products: Value[] = []
  for (let i = 0; i < kh; i++) {
    const lines = slice(padded, 1, i, i + (outHeight - 1) * stride + 1, stride)
    for (let j = 0; j < kw; j++) {
      const shifted = slice(lines, 2, j, j + (outWidth - 1) * stride + 1, stride)
      products.push(matmul(gradients, reshape(shifted, [rows, channels])))
    }
  }
  const places = reshape(concat(products, 1), [out, kh * kw, channels])
  return reshape(transpose(places, [0, 2, 1]), w.shape)
}
