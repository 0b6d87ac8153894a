import type { Shape } from "../ground/shape.ts"
import { sizeOf } from "../ground/shape.ts"
import { float32, tensor } from "../ground/tensor.ts"
import { convolvedSize } from "./convolved-size.ts"
import type { Emitter, OnnxRule } from "./emitter.ts"
import { ints, microsoft } from "./emitter.ts"

/** ONNX for products of integers of eight bits: what they read is rounded as it comes, and sums leave them as float32. */

/**
 * The most bytes of what kernels cover that are laid out at a time: about what a core keeps near it. On a Xeon, bands of 8 MiB
 * are 20% faster than a whole picture of 64 x 64 x 960, and a third faster at 512 x 512 x 128.
 */
const BAND_BYTES = 2 ** 23

/** Numbers as integers from 0 to 255 (ONNX DynamicQuantizeLinear), what one is worth, and the one that stands for 0. */
interface Rounded {
  readonly integers: string
  readonly scale: string
  readonly zero: string
}

/** Of several products that read the same numbers, ONNX Runtime rounds them once. */
function round(emit: Emitter, x: string): Rounded {
  const [integers, scale, zero] = emit.addSplit("DynamicQuantizeLinear", [x], 3)
  return { integers, scale, zero }
}

function product(
  emit: Emitter,
  { integers, scale, zero }: Rounded,
  [w, scales, ...bias]: readonly string[],
  output?: string,
): string {
  const operands = [integers, w, scale, scales, zero, "", ...bias]
  return emit.add("MatMulIntegerToFloat", operands, { domain: microsoft, output })
}

export const int8Matmul: OnnxRule<"int8Matmul"> = (emit, [x, ...weight], output, { attributes }) => {
  if (!attributes.perRow) {
    product(emit, round(emit, x), weight, output)
    return
  }
  const { rounded, steps } = roundRows(emit, x)
  const [w, scales, bias] = weight
  const sums = product(emit, rounded, [w, scales])
  if (bias === undefined) emit.add("Mul", [sums, steps], { output })
  else emit.add("Add", [emit.add("Mul", [sums, steps]), bias], { output })
}

/** The largest magnitude of each row becomes 127; the kernel takes one scale for all rows, so that theirs come after it. */
function roundRows(emit: Emitter, x: string): { readonly rounded: Rounded; readonly steps: string } {
  const number = (value: number) => emit.constant(float32([], [value]))
  const largest = emit.add("ReduceMax", [emit.add("Abs", [x]), ints(emit, [-1])], {
    attributes: { keepdims: 1n },
  })
  // A row of zeros has a step too.
  const steps = emit.add("Max", [emit.add("Mul", [largest, number(1 / 127)]), number(2 ** -100)])
  const scale = number(1)
  const zero = emit.constant(tensor("uint8", [], Uint8Array.of(128)))
  const integers = emit.add("QuantizeLinear", [emit.add("Div", [x, steps]), scale, zero])
  return { rounded: { integers, scale, zero }, steps }
}

/**
 * What the kernel covers is laid out as the rows of a matrix, band by band of the picture. That is faster than QLinearConv, by
 * a fifth to a half on a CPU with AMX, and the result is not rounded.
 */
export const int8Conv2d: OnnxRule<"int8Conv2d"> = (emit, [x, ...weight], output, { inputs, attributes }) => {
  const { kernel, stride, padding, doubled } = attributes
  const [batch, , channels] = inputs[0].shape
  const [top, left, bottom, right] = padding
  const rounded = round(emit, x)
  const [height, width] = attributes.size.map((side) => (doubled ? 2 * side : side))
  const wider = doubled
    ? doubledRows(emit, rounded.integers, inputs[0].shape, attributes.size)
    : rounded.integers
  const picture = emit.add("Reshape", [wider, ints(emit, [batch, height, width, channels])])
  const around = ints(emit, [0, top, left, 0, 0, bottom, right, 0])
  const padded = emit.add("Pad", [picture, around, rounded.zero])

  const [high, wide] = convolvedSize([height, width], kernel, attributes)
  const covered = sizeOf(kernel)
  const rowBytes = batch * wide * covered * channels
  const bandHeight = Math.ceil(high / Math.ceil((high * rowBytes) / BAND_BYTES))
  const bands: string[] = []
  const [axes, steps] = [ints(emit, [1, 2]), ints(emit, [stride, stride])]
  for (let from = 0; from < high; from += bandHeight) {
    const to = Math.min(high, from + bandHeight)
    const places = Array.from({ length: covered }, (_, k) => {
      const [down, across] = [Math.floor(k / kernel[1]), k % kernel[1]]
      const start = ints(emit, [down + from * stride, across])
      const end = ints(emit, [down + (to - 1) * stride + 1, across + (wide - 1) * stride + 1])
      return emit.add("Slice", [padded, start, end, axes, steps])
    })
    const patches = places.length === 1 ? places[0] : join(emit, places, 3)
    const matrix = ints(emit, [batch, (to - from) * wide, covered * channels])
    const integers = emit.add("Reshape", [patches, matrix])
    bands.push(product(emit, { ...rounded, integers }, weight, bandHeight >= high ? output : undefined))
  }
  if (bands.length > 1) join(emit, bands, 1, output)
}

/** Each place of a picture twice in its row, and each row twice. */
function doubledRows(emit: Emitter, x: string, [batch, , channels]: Shape, [height, width]: Shape): string {
  const places = emit.add("Reshape", [x, ints(emit, [batch, height * width, channels])])
  const lines = emit.add("Reshape", [
    join(emit, [places, places], 2),
    ints(emit, [batch, height, 2 * width * channels]),
  ])
  return join(emit, [lines, lines], 2)
}

function join(emit: Emitter, parts: readonly string[], axis: number, output?: string): string {
  return emit.add("Concat", parts, { attributes: { axis: BigInt(axis) }, output })
}
