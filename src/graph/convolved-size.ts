import type { Attributes } from "./value.ts"

/** The size of what a convolution makes of a picture of this size; below 1 where its kernel does not fit. */
export function convolvedSize(
  [height, width]: readonly number[],
  [kernelHeight, kernelWidth]: readonly number[],
  { stride, padding: [top, left, bottom, right] }: Attributes["conv2d"],
): readonly [height: number, width: number] {
  return [
    Math.floor((height + top + bottom - kernelHeight) / stride) + 1,
    Math.floor((width + left + right - kernelWidth) / stride) + 1,
  ]
}
