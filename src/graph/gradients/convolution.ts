import { node } from "../node.ts"
import { concat, convolve, matmul, pad, reduceSum, reshape, slice, transpose } from "../ops/index.ts"
import type { Value } from "../value.ts"

/**
 * A convolution's gradients.
 *   in x: stride 1 is a convolution of g with the weight flipped and its channels swapped, which runs twice as
 *         fast as the transposed convolution that other strides need;
 *   in w: matrix products of g with the picture's shifted copies (im2col), a multiple faster than the
 *         convolution with swapped axes that textbooks write.
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
  const [, , kh, kw] = w.shape
  const [, , height, width] = x.shape
  const [top, left, bottom, right] = padding
  const flat = Math.max(top, bottom) < kh && Math.max(left, right) < kw
  if (stride === 1 && flat) {
    const swapped = transpose(w, [1, 0, 2, 3])
    const flipped = flip(flip(swapped, 2), 3)
    return convolve(g, flipped, undefined, {
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

function flip(x: Value, axis: number): Value {
  return x.shape[axis] === 1 ? x : slice(x, axis, x.shape[axis] - 1, -1, -1)
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
  const shifted = Array.from({ length: kw }, (_, j) =>
    slice(padded, 2, j, j + (outWidth - 1) * stride + 1, stride),
  )
  const columns = concat(shifted, 3) // [B, H, W', kw channels]
  const gradients = reshape(transpose(g, [0, 2, 3, 1]), [rows, out])
  const lines = Array.from({ length: kh }, (_, i) => {
    const line = slice(columns, 1, i, i + (outHeight - 1) * stride + 1, stride)
    const product = matmul(gradients, reshape(line, [rows, kw * channels]), { transA: true })
    return reshape(product, [out, 1, kw, channels])
  })
  return transpose(concat(lines, 1), [0, 3, 1, 2])
}
