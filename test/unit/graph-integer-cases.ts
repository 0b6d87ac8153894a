import { constant, node } from "../../src/graph/node.ts"
import type { Attributes, Value } from "../../src/graph/value.ts"
import type { Shape } from "../../src/ground/shape.ts"
import { sizeOf } from "../../src/ground/shape.ts"
import { float32, tensor } from "../../src/ground/tensor.ts"

/** One use of an operator: the shapes of its real inputs, and the call. */
export interface Case {
  readonly name: string
  readonly shapes: readonly Shape[]
  readonly call: (inputs: readonly Value[]) => Value
  /** Where the inputs lie, for functions that are not defined everywhere; [-2, 2] otherwise. */
  readonly range?: readonly [number, number]
}

/** A case of one input. */
export function one(name: string, shape: Shape, call: (x: Value) => Value): Case {
  return { name, shapes: [shape], call: ([x]) => call(x) }
}

/** A product with a weight of any bytes, and scales of either sign. */
export function quantized({
  x,
  out,
  bits,
  blockSize,
}: {
  x: readonly number[]
  out: number
  bits: 4 | 8
  blockSize: number
}): Case {
  const blocks = x[x.length - 1] / blockSize
  const shape = [out, blocks, (blockSize * bits) / 8]
  const bytes = Uint8Array.from({ length: sizeOf(shape) }, (_, i) => (i * 2654435761) >>> 24)
  const scales = Float32Array.from({ length: out * blocks }, (_, i) => Math.sin(i + 1))
  return {
    name: `${bits} bits in blocks of ${blockSize}, x [${x}]`,
    shapes: [x],
    call: ([given]) =>
      node(
        "quantizedMatmul",
        [given, constant(tensor("uint8", shape, bytes)), constant(float32([out, blocks], scales))],
        { bits, blockSize },
      ),
  }
}

/** Weights that are integers of both signs, and as many scales. */
function integers(shape: readonly number[], channels: number) {
  const values = Int8Array.from({ length: sizeOf(shape) }, (_, i) => (i * 2654435761) >> 24)
  const scales = Float32Array.from({ length: channels }, (_, i) => 0.01 + 0.001 * i)
  return [constant(tensor("int8", shape, values)), constant(float32([channels], scales))] as const
}

/** A product with integers. */
export function integerProduct({
  x,
  out,
  biased,
  perRow = false,
}: {
  x: readonly number[]
  out: number
  biased: boolean
  perRow?: boolean
}): Case {
  const weight = integers([x[x.length - 1], out], out)
  const name = `x [${x}]${biased ? " with a bias" : ""}${perRow ? ", row by row" : ""}`
  if (!biased) return one(name, x, (given) => node("int8Matmul", [given, ...weight], { perRow }))
  return {
    name,
    shapes: [x, [out]],
    call: ([given, bias]) => node("int8Matmul", [given, ...weight, bias], { perRow }),
  }
}

/** A convolution over integers, of pictures as rows. */
export function integerConvolution({
  picture,
  doubled = false,
  out,
  kernel,
  stride,
  padding,
}: {
  picture: readonly [batch: number, height: number, width: number, channels: number]
  doubled?: boolean
  out: number
  kernel: readonly [number, number]
  stride: number
  padding: number | Attributes["conv2d"]["padding"]
}): Case {
  const [batch, height, width, channels] = picture
  const around = typeof padding === "number" ? ([padding, padding, padding, padding] as const) : padding
  const weight = integers([kernel[0] * kernel[1] * channels, out], out)
  const attributes = { size: [height, width], doubled, kernel, stride, padding: around } as const
  return {
    name: `[${picture}]${doubled ? " doubled" : ""} * ${out} of ${kernel}, stride ${stride}, padding ${padding}`,
    shapes: [[batch, height * width, channels], [out]],
    call: ([x, bias]) => node("int8Conv2d", [x, ...weight, bias], attributes),
  }
}
