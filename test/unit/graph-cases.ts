import { constant, input, node } from "../../src/graph/node.ts"
import * as ops from "../../src/graph/ops/index.ts"
import type { Op, Padding2d, Value } from "../../src/graph/value.ts"
import type { Shape } from "../../src/ground/shape.ts"
import { sizeOf } from "../../src/ground/shape.ts"
import { float32, int64 } from "../../src/ground/tensor.ts"
import type { Dice } from "./dice.ts"
import type { Case } from "./graph-integer-cases.ts"
import { integerConvolution, integerProduct, one, quantized } from "./graph-integer-cases.ts"

/** Uses of every operator, odd sizes and rare options among them; a text says why there are none. */
export const cases: { readonly [P in Op]: readonly Case[] | string } = {
  input: "is fed",
  weight: "is read",
  constant: "is known",

  add: broadcasting(ops.add),
  sub: broadcasting(ops.sub),
  mul: broadcasting(ops.mul),
  div: broadcasting(ops.div, [0.5, 2]),
  neg: unary(ops.neg),
  exp: unary(ops.exp),
  log: unary(ops.log, [0.2, 3]),
  sqrt: unary(ops.sqrt, [0.2, 3]),
  sin: unary(ops.sin),
  cos: unary(ops.cos),
  tanh: unary(ops.tanh),
  sigmoid: unary(ops.sigmoid),
  relu: unary(ops.relu),
  sigmoidGate: [...unary(ops.silu), ...unary(ops.quickGelu)],
  gelu: unary(ops.gelu),
  erf: unary(ops.erf),
  cast: unary((x) => ops.cast(ops.cast(x, "float64"), "float32")),

  matmul: [
    ...[false, true].flatMap((transA) =>
      [false, true].flatMap((transB) => {
        const a = transA ? [5, 3] : [3, 5]
        const b = transB ? [7, 5] : [5, 7]
        const options = { transA, transB }
        const transposed = `${transA ? "aT" : "a"} x ${transB ? "bT" : "b"}`
        const call = ([x, y]: readonly Value[]) => ops.matmul(x, y, options)
        const scaled = ([x, y]: readonly Value[]) => ops.matmul(x, y, { ...options, scale: -0.3 })
        return [
          { name: transposed, shapes: [a, b], call },
          { name: `${transposed}, scaled`, shapes: [a, b], call: scaled },
          {
            name: `${transposed}, in batches`,
            shapes: [
              [2, ...a],
              [2, ...b],
            ],
            call,
          },
          {
            name: `${transposed}, in batches of batches`,
            shapes: [
              [2, 1, 3, ...a],
              [2, 1, 3, ...b],
            ],
            call: scaled,
          },
          { name: `${transposed}, b shared`, shapes: [[3, ...a], b], call },
          { name: `${transposed}, b shared, scaled`, shapes: [[2, 2, ...a], b], call: scaled },
        ]
      }),
    ),
    {
      name: "one number",
      shapes: [
        [1, 1],
        [1, 1],
      ],
      call: ([x, y]) => ops.matmul(x, y),
    },
  ],
  quantizedMatmul: [
    quantized({ x: [3, 32], out: 5, bits: 8, blockSize: 32 }),
    quantized({ x: [2, 3, 96], out: 7, bits: 8, blockSize: 32 }),
    quantized({ x: [1, 128], out: 4, bits: 8, blockSize: 128 }),
    quantized({ x: [3, 32], out: 5, bits: 4, blockSize: 32 }),
    quantized({ x: [2, 3, 192], out: 9, bits: 4, blockSize: 64 }),
  ],
  int8Matmul: [
    integerProduct({ x: [3, 8], out: 5, biased: false }),
    integerProduct({ x: [2, 5, 33], out: 7, biased: true }),
    integerProduct({ x: [1, 64], out: 4, biased: true }),
    integerProduct({ x: [3, 8], out: 5, biased: false, perRow: true }),
    integerProduct({ x: [2, 5, 33], out: 7, biased: true, perRow: true }),
  ],
  int8Conv2d: [
    integerConvolution({ picture: [2, 6, 7, 3], out: 4, kernel: [3, 3], stride: 1, padding: 1 }),
    integerConvolution({
      picture: [1, 4, 3, 5],
      doubled: true,
      out: 2,
      kernel: [3, 3],
      stride: 1,
      padding: 1,
    }),
    integerConvolution({ picture: [1, 9, 8, 5], out: 7, kernel: [3, 3], stride: 2, padding: [0, 0, 1, 1] }),
    integerConvolution({ picture: [2, 7, 9, 3], out: 2, kernel: [1, 3], stride: 3, padding: [0, 1, 0, 2] }),
  ],
  conv2d: [
    ...[1, 2].flatMap((stride) =>
      [0, 1].map((padding) => convolution({ picture: [2, 3, 6, 7], kernel: [4, 3, 3, 3], stride, padding })),
    ),
    convolution({ picture: [1, 2, 5, 4], kernel: [3, 2, 1, 1], stride: 1, padding: 0 }),
    convolution({ picture: [2, 3, 5, 6], kernel: [2, 3, 1, 1], stride: 2, padding: 0 }),
    convolution({ picture: [1, 2, 7, 6], kernel: [2, 2, 5, 5], stride: 1, padding: 2 }),
    convolution({ picture: [1, 2, 9, 8], kernel: [2, 2, 5, 5], stride: 2, padding: 2 }),
    convolution({ picture: [2, 2, 7, 6], kernel: [3, 2, 4, 3], stride: 1, padding: [1, 0, 2, 1] }),
    convolution({ picture: [1, 1, 8, 9], kernel: [2, 1, 4, 3], stride: 2, padding: [0, 1, 3, 0] }),
    // diffusers pads the pictures of an autoencoder only below and on the right.
    convolution({ picture: [1, 2, 6, 6], kernel: [2, 2, 3, 3], stride: 2, padding: [0, 0, 1, 1] }),
    // Wider than the kernel: whole rows and columns see nothing but zeros.
    convolution({ picture: [1, 2, 3, 4], kernel: [2, 2, 2, 2], stride: 1, padding: 3 }),
    // Rows and columns at the end that no window reaches.
    convolution({ picture: [1, 2, 8, 7], kernel: [2, 2, 3, 3], stride: 3, padding: 0 }),
    convolution({ picture: [2, 2, 4, 3], kernel: [3, 2, 3, 2], stride: 1, padding: 1, bias: false }),
    convolution({ picture: [1, 2, 3, 3], kernel: [2, 2, 3, 3], stride: 1, padding: 0 }),
    // As the inputs of a U-Net for masks, and of Inkling's.
    convolution({ picture: [2, 9, 6, 5], kernel: [8, 9, 3, 3], stride: 1, padding: 1 }),
    convolution({ picture: [1, 6, 6, 5], kernel: [4, 6, 3, 3], stride: 1, padding: 1 }),
  ],
  convTranspose2d: (
    [
      { stride: 1, padding: [0, 0, 0, 0], outputPadding: [0, 0] },
      { stride: 2, padding: [1, 1, 1, 1], outputPadding: [1, 0] },
      { stride: 3, padding: [0, 1, 2, 1], outputPadding: [2, 1] },
    ] satisfies Value<"convTranspose2d">["attributes"][]
  ).map((attributes) => ({
    name: JSON.stringify(attributes),
    shapes: [
      [2, 3, 4, 5],
      [3, 2, 3, 4],
    ],
    call: ([x, w]) => node("convTranspose2d", [x, w], attributes),
  })),
  attention: [
    attending({ heads: 1, t: 3, s: 4, width: 5 }),
    attending({ heads: 2, t: 5, s: 5, width: 6 }),
    attending({ heads: 3, t: 1, s: 7, width: 12 }),
    attending({ heads: 2, t: 4, s: 3, width: 8, scale: 0.7 }),
    attending({ heads: 2, t: 4, s: 4, width: 6, mask: [1, 1, 4, 4] }),
    attending({ heads: 2, t: 3, s: 5, width: 4, mask: [2, 2, 3, 5] }),
    attending({ heads: 1, t: 3, s: 5, width: 4, mask: [1, 1, 3, 5], causal: true }),
  ],

  groupNorm: [
    normalising({ x: [2, 6, 3, 5], groups: 3, eps: 1e-5 }),
    normalising({ x: [1, 4, 2, 3], groups: 1, eps: 1e-3 }),
    normalising({ x: [3, 4, 7], groups: 4, eps: 1e-6 }),
    normalising({ x: [2, 5, 1, 4], groups: 5, eps: 0.1 }),
  ],
  groupNormRows: [
    normalisingRows({ x: [2, 15, 6], groups: 3, eps: 1e-5 }),
    normalisingRows({ x: [1, 6, 4], groups: 1, eps: 1e-3 }),
    normalisingRows({ x: [3, 7, 4], groups: 4, eps: 1e-6 }),
  ],
  layerNorm: [[4, 6], [2, 3, 5], [7], [2, 2, 2, 3]].map((shape) => ({
    name: `[${shape}]`,
    shapes: [shape, shape.slice(-1), shape.slice(-1)],
    call: (inputs) => node("layerNorm", inputs, { eps: 1e-3 }),
  })),
  rmsNorm: [[4, 6], [2, 3, 5], [7], [2, 2, 2, 3]].map((shape) => ({
    name: `[${shape}]`,
    shapes: [shape, shape.slice(-1)],
    call: (inputs) => node("rmsNorm", inputs, { eps: 1e-3 }),
  })),
  softmax: unary(ops.softmax),
  logSoftmax: unary(ops.logSoftmax),

  reduceSum: reducing(ops.reduceSum),
  reduceMean: reducing(ops.reduceMean),

  reshape: [
    one("split", [6, 4], (x) => ops.reshape(x, [2, 3, 4])),
    one("join", [2, 3, 4], (x) => ops.reshape(x, [24])),
    one("to and from no axes", [1, 1], (x) => ops.reshape(ops.reshape(x, []), [1])),
  ],
  transpose: [
    one("two axes", [3, 5], (x) => ops.transpose(x, [1, 0])),
    one("three axes round", [2, 3, 4], (x) => ops.transpose(x, [1, 2, 0])),
    one("four axes", [2, 3, 4, 5], (x) => ops.transpose(x, [3, 0, 2, 1])),
  ],
  concat: [0, 1, 2].map((axis) => ({
    name: `axis ${axis}`,
    shapes: [1, 2, 5].map((size) => [2, 3, 4].map((d, i) => (i === axis ? size : d))),
    call: (inputs) => ops.concat(inputs, axis),
  })),
  slice: [
    one("from the beginning", [5, 3], (x) => ops.slice(x, 0, 0, 2)),
    one("from the middle", [3, 7], (x) => ops.slice(x, 1, 2, 6)),
    one("every second", [2, 7], (x) => ops.slice(x, 1, 1, 7, 2)),
    one("every third, to the end", [9, 2], (x) => ops.slice(x, 0, 1, 9, 3)),
    one("every third, short of it", [9, 2], (x) => ops.slice(x, 0, 0, 8, 3)),
    one("backwards", [4, 5], (x) => ops.slice(x, 1, 4, -1, -1)),
    one("backwards within", [6, 2], (x) => ops.slice(x, 0, 4, 1, -1)),
    one("every second backwards", [2, 8], (x) => ops.slice(x, 1, 7, -1, -2)),
    one("every third backwards within", [9], (x) => ops.slice(x, 0, 7, 1, -3)),
    one("one, backwards", [4, 3], (x) => ops.slice(x, 0, 2, 1, -1)),
  ],
  pad: [
    one("around", [2, 3], (x) => ops.pad(x, [1, 0], [0, 2])),
    one("four axes", [1, 2, 3, 2], (x) => ops.pad(x, [0, 1, 2, 0], [1, 0, 0, 3])),
  ],
  expand: [
    one("an axis of one", [3, 1], (x) => ops.expand(x, [3, 4])),
    one("new axes", [2, 1], (x) => ops.expand(x, [5, 3, 2, 4])),
    one("one number", [], (x) => ops.expand(x, [2, 3])),
  ],
  upsampleNearest: [
    enlarging([1, 2, 3, 4], 6, 12),
    enlarging([2, 1, 2, 3], 5, 7),
    enlarging([1, 2, 5, 4], 7, 4),
    enlarging([1, 1, 3, 3], 6, 4),
    enlarging([1, 2, 1, 1], 3, 2),
  ],
  gatherRows: [
    one("each id once", [5, 3], (x) => ops.gatherRows(x, constant(int64([3], [4, 0, 2])))),
    one("repeated ids", [4, 2], (x) => ops.gatherRows(x, constant(int64([2, 3], [1, 1, 3, 0, 1, 3])))),
  ],
  scatterRows: [
    one("each id once", [3, 2], (x) => ops.scatterRows(x, constant(int64([3], [4, 0, 2])), 5)),
    one("repeated ids", [2, 3, 2], (x) => ops.scatterRows(x, constant(int64([2, 3], [1, 1, 3, 0, 1, 3])), 6)),
  ],
}

/** Inputs for a case, named by its number, and the numbers to feed them. */
export function feedsOf({ shapes, range: [low, high] = [-2, 2] }: Case, number: number, { next }: Dice) {
  const inputs = shapes.map((shape, i) => input(`case ${number} input ${i}`, "float32", shape))
  // Rounded to float32 here, so that both precisions start at the same numbers.
  const numbers = shapes.map((shape) =>
    Float64Array.from({ length: sizeOf(shape) }, () => Math.fround(low + next() * (high - low))),
  )
  const named = inputs.map(({ attributes: { name } }, i) => [name, numbers[i]] as const)
  return { inputs, feeds: Object.fromEntries(named) }
}

function unary(f: (x: Value) => Value, range?: Case["range"]): Case[] {
  return [[7], [3, 5], [2, 1, 3, 4]].map((shape) => ({ ...one(`[${shape}]`, shape, f), range }))
}

function broadcasting(f: (a: Value, b: Value) => Value, range?: Case["range"]): Case[] {
  const shapes: [Shape, Shape][] = [
    [
      [3, 5],
      [3, 5],
    ],
    [[3, 5], [5]],
    [[4], [3, 1]],
    [
      [2, 1, 3],
      [4, 1],
    ],
    [
      [2, 3, 2, 2],
      [3, 1, 1],
    ],
    [[2, 3], []],
    [[], []],
    [
      [1, 1, 3],
      [2, 1],
    ],
  ]
  const cases: Case[] = shapes.map(([a, b]) => ({
    name: `[${a}] and [${b}]`,
    shapes: [a, b],
    range,
    call: ([x, y]) => f(x, y),
  }))
  return [...cases, { ...one("itself", [4], (x) => f(x, x)), range }]
}

function reducing(
  f: (x: Value, axes?: readonly number[], options?: { keepDims?: boolean }) => Value,
): Case[] {
  return [
    one("all", [3, 4], (x) => f(x)),
    one("the last", [2, 3, 4], (x) => f(x, [2])),
    one("the first, kept", [2, 3, 4], (x) => f(x, [0], { keepDims: true })),
    one("two of four", [2, 3, 2, 5], (x) => f(x, [3, 1])),
    one("all but the channels", [2, 3, 4, 2], (x) => f(x, [0, 2, 3], { keepDims: true })),
  ]
}

function convolution({
  picture,
  kernel,
  bias = true,
  ...options
}: {
  picture: Shape
  kernel: Shape
  bias?: boolean
  stride: number
  padding: number | Padding2d
}): Case {
  return {
    name: `[${picture}] by [${kernel}], stride ${options.stride}, padding ${options.padding}`,
    shapes: bias ? [picture, kernel, kernel.slice(0, 1)] : [picture, kernel],
    call: ([x, w, b]) => ops.convolve(x, w, b, options),
  }
}

function attending({
  heads,
  t,
  s,
  width,
  mask,
  scale,
  causal = false,
}: {
  heads: number
  t: number
  s: number
  width: number
  mask?: Shape
  scale?: number
  causal?: boolean
}): Case {
  const name = `${heads} heads, ${t} to ${s}${mask ? `, mask [${mask}]` : ""}${causal ? ", causal" : ""}`
  const shapes: Shape[] = [
    [2, t, width],
    [2, s, width],
    [2, s, width],
  ]
  if (causal) {
    const forbidden = Float32Array.from({ length: t * s }, (_, i) => (i % s > Math.floor(i / s) ? -1e9 : 0))
    const fixed = constant(float32(mask!, forbidden))
    return { name, shapes, call: ([q, k, v]) => ops.attention(q, k, v, { heads, scale, mask: fixed }) }
  }
  return {
    name,
    shapes: mask ? [...shapes, mask] : shapes,
    call: ([q, k, v, m]) => ops.attention(q, k, v, { heads, scale, mask: m }),
  }
}

function normalising({ x, groups, eps }: { x: Shape; groups: number; eps: number }): Case {
  return {
    name: `[${x}] in ${groups} groups`,
    shapes: [x, [x[1]], [x[1]]],
    call: (inputs) => node("groupNorm", inputs, { groups, eps }),
  }
}

function normalisingRows({ x, groups, eps }: { x: Shape; groups: number; eps: number }): Case {
  return {
    name: `rows [${x}] in ${groups} groups`,
    shapes: [x, [x[2]], [x[2]]],
    call: (inputs) => node("groupNormRows", inputs, { groups, eps }),
  }
}

function enlarging(shape: Shape, height: number, width: number): Case {
  return one(`[${shape}] to ${height}x${width}`, shape, (x) => ops.upsampleNearest(x, height, width))
}
