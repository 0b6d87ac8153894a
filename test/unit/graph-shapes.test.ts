import { describe, expect, test } from "vitest"
import { constant, input, node } from "../../src/graph/node.ts"
import * as ops from "../../src/graph/ops/index.ts"
import { shapeRules } from "../../src/graph/shape-rules.ts"
import type { Attributes, Op, Value } from "../../src/graph/value.ts"
import type { DType } from "../../src/ground/dtype.ts"
import { LimnError } from "../../src/ground/errors.ts"
import { float32 } from "../../src/ground/tensor.ts"

const f = (...shape: number[]) => input("x", "float32", shape)
const of = (dtype: DType, ...shape: number[]) => input("x", dtype, shape)

/** Calls that cannot be, and what is said of them. */
type Refused = readonly (readonly [() => Value, string])[]

const notReal = (call: (x: Value) => Value): Refused => [
  [() => call(of("int64", 3)), "int64[3] does not hold real numbers"],
]

const notTogether = (call: (a: Value, b: Value) => Value): Refused => [
  [() => call(f(2, 3), f(2)), "float32[2, 3] and float32[2] do not broadcast"],
  [() => call(f(2, 3), f(3, 2)), "float32[2, 3] and float32[3, 2] do not broadcast"],
  [() => call(f(2), of("float16", 2)), "float32[2] and float16[2] have different element types"],
]

const notReducible = (call: (x: Value, axes: readonly number[]) => Value): Refused => [
  [() => call(f(2, 3), [2]), "float32[2, 3] has no axis 2"],
  [() => call(f(2, 3), [-1]), "float32[2, 3] has no axis -1"],
  [() => call(f(2, 3), [0.5]), "float32[2, 3] has no axis 0.5"],
  [() => call(f(2, 3), [1, 1]), "[1, 1] names an axis of float32[2, 3] twice"],
]

const groupNorm = (x: Value, groups: number, channels = x.shape[1]) =>
  node("groupNorm", [x, f(channels), f(channels)], { groups, eps: 1e-5 })

const groupNormRows = (x: Value, groups: number, channels = x.shape[2]) =>
  node("groupNormRows", [x, f(channels), f(channels)], { groups, eps: 1e-5 })

const transposed = (x: Value, w: Value, attributes: Partial<Attributes["convTranspose2d"]> = {}) =>
  node("convTranspose2d", [x, w], { stride: 1, padding: [0, 0, 0, 0], outputPadding: [0, 0], ...attributes })

const quantized = (x: Value, w: Value, scales: Value) =>
  node("quantizedMatmul", [x, w, scales], { bits: 8, blockSize: 32 })

const integerConvolution = (x: Value, w: Value, padding = 1) =>
  node("int8Conv2d", [x, w, f(4)], {
    size: [8, 8],
    doubled: false,
    kernel: [3, 3],
    stride: 1,
    padding: [padding, padding, padding, padding],
  })

const refused: { readonly [P in Op]: Refused } = {
  input: [[() => node("input", [], { name: "x" }), "is made by `input`, not by a rule"]],
  weight: [
    [
      () => node("weight", [], { path: "w", storage: { kind: "memory", tensor: float32([1], [1]) } }),
      "is made by `Weights`, not by a rule",
    ],
  ],
  constant: [],

  add: notTogether(ops.add),
  sub: notTogether(ops.sub),
  mul: notTogether(ops.mul),
  div: notTogether(ops.div),
  neg: [],
  exp: notReal(ops.exp),
  log: notReal(ops.log),
  sqrt: notReal(ops.sqrt),
  sin: notReal(ops.sin),
  cos: notReal(ops.cos),
  tanh: notReal(ops.tanh),
  sigmoid: notReal(ops.sigmoid),
  relu: notReal(ops.relu),
  sigmoidGate: notReal(ops.silu),
  gelu: notReal(ops.gelu),
  erf: notReal(ops.erf),
  cast: [],

  matmul: [
    [() => ops.matmul(f(2, 3), f(4, 5)), "float32[2, 3] x float32[4, 5]: 3 is not 4"],
    [() => ops.matmul(f(2, 3), f(3, 5), { transA: true }), "float32[2, 3]ᵀ x float32[3, 5]: 2 is not 3"],
    [() => ops.matmul(f(2, 3), f(3, 5), { transB: true }), "float32[2, 3] x float32[3, 5]ᵀ: 3 is not 5"],
    [() => ops.matmul(f(3), f(3, 5)), "float32[3] x float32[3, 5]: both need at least two axes"],
    [() => ops.matmul(f(2, 4, 3), f(5, 3, 2)), "float32[2, 4, 3] x float32[5, 3, 2]: the batch axes differ"],
    [() => ops.matmul(f(4, 3), f(5, 3, 2)), "float32[4, 3] x float32[5, 3, 2]: the batch axes differ"],
    [
      () => ops.matmul(f(2, 3), of("float16", 3, 2)),
      "float32[2, 3] and float16[3, 2] have different element types",
    ],
    [() => ops.matmul(of("int64", 2, 3), f(3, 2)), "int64[2, 3] does not hold real numbers"],
  ],
  quantizedMatmul: [
    [
      () => quantized(f(2, 64), of("uint8", 5, 2, 16), f(5, 2)),
      "the weight uint8[5, 2, 16] is not in blocks of 32 integers of 8 bits",
    ],
    [
      () => quantized(f(2, 64), f(5, 2, 32), f(5, 2)),
      "the weight float32[5, 2, 32] is not in blocks of 32 integers of 8 bits",
    ],
    [() => quantized(f(2, 96), of("uint8", 5, 2, 32), f(5, 2)), "2 blocks of 32 do not take float32[2, 96]"],
    [
      () => quantized(f(2, 64), of("uint8", 5, 2, 32), f(5)),
      "the scales float32[5] are not one for each block of uint8[5, 2, 32]",
    ],
  ],
  int8Matmul: [
    [
      () => node("int8Matmul", [f(2, 8), f(8, 3), f(3)], { perRow: false }),
      "the weight float32[8, 3] does not take rows of 8 of float32[2, 8]",
    ],
    [
      () => node("int8Matmul", [f(2, 8), of("int8", 3, 8), f(3)], { perRow: false }),
      "the weight int8[3, 8] does not take rows of 8 of float32[2, 8]",
    ],
    [
      () => node("int8Matmul", [f(8), of("int8", 8, 3), f(3)], { perRow: false }),
      "float32[8] is not a matrix",
    ],
    [
      () => node("int8Matmul", [f(2, 8), of("int8", 8, 3), f(8)], { perRow: false }),
      "float32[8] is not a vector of 3",
    ],
    [
      () => node("int8Matmul", [of("float16", 2, 8), of("int8", 8, 3), f(3)], { perRow: false }),
      "float16[2, 8] is not float32",
    ],
  ],
  int8Conv2d: [
    [
      () => integerConvolution(f(1, 64, 3), f(27, 4)),
      "the weight float32[27, 4] does not take rows of 27 of float32[1, 64, 3]",
    ],
    [
      () => integerConvolution(f(1, 64, 3), of("int8", 18, 4)),
      "the weight int8[18, 4] does not take rows of 27 of float32[1, 64, 3]",
    ],
    [() => integerConvolution(f(1, 64, 3), of("int8", 27, 3)), "float32[4] is not a vector of 3"],
    [
      () => integerConvolution(f(1, 63, 3), of("int8", 27, 4)),
      "float32[1, 63, 3] is not the rows of a picture of 8x8",
    ],
    [
      () => integerConvolution(f(1, 64, 3), of("int8", 27, 4), -3),
      "padding [-3, -3, -3, -3] must be non-negative integers",
    ],
  ],
  conv2d: [
    [() => ops.convolve(f(3, 8, 8), f(4, 3, 3, 3), undefined), "float32[3, 8, 8] is not [B, C, H, W]"],
    [
      () => ops.convolve(f(1, 3, 8, 8), f(4, 2, 3, 3), undefined),
      "the weight float32[4, 2, 3, 3] does not take the 3 channels of float32[1, 3, 8, 8]",
    ],
    [
      () => ops.convolve(f(1, 3, 8, 8), f(4, 3, 3), undefined),
      "the weight float32[4, 3, 3] does not take the 3 channels of float32[1, 3, 8, 8]",
    ],
    [
      () => ops.convolve(f(1, 3, 8, 8), f(4, 3, 3, 3), f(3)),
      "the bias float32[3] is not the weight's 4 output channels",
    ],
    [
      () => ops.convolve(f(1, 3, 2, 8), f(4, 3, 3, 3), undefined),
      "float32[1, 3, 2, 8] is smaller than the 3x3 kernel",
    ],
    [
      () => ops.convolve(f(1, 3, 8, 8), f(4, 3, 3, 3), undefined, { stride: 0 }),
      "stride [0] must be positive integers",
    ],
    [
      () => ops.convolve(f(1, 3, 8, 8), f(4, 3, 3, 3), undefined, { padding: [0, -1, 0, 0] }),
      "padding [0, -1, 0, 0] must be non-negative integers",
    ],
    [
      () => ops.convolve(f(1, 3, 8, 8), of("float16", 4, 3, 3, 3), undefined),
      "float32[1, 3, 8, 8] and float16[4, 3, 3, 3] have different element types",
    ],
  ],
  convTranspose2d: [
    [() => transposed(f(3, 8, 8), f(3, 4, 3, 3)), "float32[3, 8, 8] is not [B, C, H, W]"],
    [
      () => transposed(f(1, 3, 8, 8), f(4, 3, 3, 3)),
      "the weight float32[4, 3, 3, 3] does not take the 3 channels of float32[1, 3, 8, 8]",
    ],
    [
      () => transposed(f(1, 3, 1, 1), f(3, 4, 2, 2), { padding: [1, 1, 1, 1] }),
      "the padding [1, 1, 1, 1] leaves nothing of float32[1, 3, 1, 1]",
    ],
    [
      () => transposed(f(1, 3, 8, 8), f(3, 4, 3, 3), { outputPadding: [0, -1] }),
      "outputPadding [0, -1] must be non-negative integers",
    ],
  ],
  attention: [
    [() => ops.attention(f(2, 8), f(1, 3, 8), f(1, 3, 8), { heads: 2 }), "float32[2, 8] is not [B, T, C]"],
    [
      () => ops.attention(f(1, 2, 8), f(1, 3, 6), f(1, 3, 8), { heads: 2 }),
      "queries float32[1, 2, 8], keys float32[1, 3, 6] and values float32[1, 3, 8] do not fit together",
    ],
    [
      () => ops.attention(f(1, 2, 8), f(1, 3, 8), f(1, 4, 8), { heads: 2 }),
      "queries float32[1, 2, 8], keys float32[1, 3, 8] and values float32[1, 4, 8] do not fit together",
    ],
    [
      () => ops.attention(f(1, 2, 8), f(1, 3, 8), f(1, 3, 8), { heads: 3 }),
      "8 and 8 channels do not divide into 3 heads",
    ],
    [
      () => ops.attention(f(1, 2, 8), f(1, 3, 8), f(1, 3, 8), { heads: 0 }),
      "heads [0] must be positive integers",
    ],
    [
      () => ops.attention(f(1, 2, 8), f(1, 3, 8), f(1, 3, 8), { heads: 2, mask: f(1, 1, 3, 2) }),
      "the mask float32[1, 1, 3, 2] does not broadcast to [1, 2, 2, 3]",
    ],
    [
      () => ops.attention(f(1, 2, 8), f(1, 3, 8), f(1, 3, 8), { heads: 2, mask: of("bool", 2, 3) }),
      "bool[2, 3] does not hold real numbers",
    ],
  ],

  groupNorm: [
    [() => groupNorm(f(2, 6), 2), "float32[2, 6] is not [B, C, ...]"],
    [() => groupNorm(f(2, 6, 4), 4), "6 channels do not divide into 4 groups"],
    [() => groupNorm(f(2, 6, 4), 0), "groups [0] must be positive integers"],
    [() => groupNorm(f(2, 6, 4), 2, 3), "float32[3] is not a vector of 6"],
  ],
  groupNormRows: [
    [() => groupNormRows(f(2, 4, 3, 6), 2), "float32[2, 4, 3, 6] is not [B, H W, C]"],
    [() => groupNormRows(f(2, 4, 6), 4), "6 channels do not divide into 4 groups"],
    [() => groupNormRows(f(2, 4, 6), 2, 4), "float32[4] is not a vector of 6"],
  ],
  layerNorm: [
    [() => node("layerNorm", [f(2, 6), f(5), f(6)], { eps: 1e-5 }), "float32[5] is not a vector of 6"],
    [() => node("layerNorm", [f(2, 6), f(6), f(2, 6)], { eps: 1e-5 }), "float32[2, 6] is not a vector of 6"],
    [() => node("layerNorm", [f(), f(1), f(1)], { eps: 1e-5 }), "float32[] has no last axis"],
  ],
  rmsNorm: [
    [() => node("rmsNorm", [f(2, 6), f(5)], { eps: 1e-5 }), "float32[5] is not a vector of 6"],
    [() => node("rmsNorm", [f(2, 6), f(1, 6)], { eps: 1e-5 }), "float32[1, 6] is not a vector of 6"],
    [() => node("rmsNorm", [f(), f(1)], { eps: 1e-5 }), "float32[] has no last axis"],
  ],
  softmax: [...notReal(ops.softmax), [() => ops.softmax(f()), "float32[] has no last axis"]],
  logSoftmax: [...notReal(ops.logSoftmax), [() => ops.logSoftmax(f()), "float32[] has no last axis"]],

  reduceSum: notReducible(ops.reduceSum),
  reduceMean: notReducible(ops.reduceMean),

  reshape: [
    [() => ops.reshape(f(2, 3), [4]), "float32[2, 3] does not fill [4]"],
    [() => ops.reshape(f(2, 3), [-2, -3]), "shape [-2, -3] must be non-negative integers"],
  ],
  transpose: [
    [() => ops.transpose(f(2, 3), [0, 0]), "[0, 0] does not permute the axes of float32[2, 3]"],
    [() => ops.transpose(f(2, 3), [1, 0, 2]), "[1, 0, 2] does not permute the axes of float32[2, 3]"],
    [() => ops.transpose(f(2, 3), [2, 0]), "float32[2, 3] has no axis 2"],
  ],
  concat: [
    [() => ops.concat([], 0), "there are no values to join"],
    [() => ops.concat([f(2, 3), f(2, 3)], 2), "float32[2, 3] has no axis 2"],
    [() => ops.concat([f(2, 3), f(3, 3)], 1), "float32[2, 3] and float32[3, 3] do not join along axis 1"],
    [() => ops.concat([f(2, 3), f(2)], 0), "float32[2, 3] and float32[2] do not join along axis 0"],
    [() => ops.concat([f(2), of("int64", 2)], 0), "float32[2] and int64[2] do not join along axis 0"],
  ],
  slice: [
    [() => ops.slice(f(5, 2), 2, 0, 1), "float32[5, 2] has no axis 2"],
    [() => ops.slice(f(5), 0, 0, 6), "0:6:1 leaves axis 0 of float32[5]"],
    [() => ops.slice(f(5), 0, -1, 3), "-1:3:1 leaves axis 0 of float32[5]"],
    [() => ops.slice(f(5), 0, 3, 3), "3:3:1 leaves axis 0 of float32[5]"],
    [() => ops.slice(f(5), 0, 1, 3, 0), "1:3:0 leaves axis 0 of float32[5]"],
    [() => ops.slice(f(5), 0, 5, 0, -1), "5:0:-1 leaves axis 0 of float32[5]"],
    [() => ops.slice(f(5), 0, 3, -2, -1), "3:-2:-1 leaves axis 0 of float32[5]"],
    [() => ops.slice(f(5), 0, 0.5, 3), "0.5:3:1 leaves axis 0 of float32[5]"],
  ],
  pad: [
    [() => ops.pad(f(2, 3), [1], [1]), "[1] and [1] do not pad float32[2, 3]"],
    [() => ops.pad(f(2, 3), [1, -1], [0, 0]), "before [1, -1] must be non-negative integers"],
    [() => ops.pad(f(2, 3), [0, 0], [0, 0.5]), "after [0, 0.5] must be non-negative integers"],
  ],
  expand: [
    [() => ops.expand(f(2, 3), [2, 4]), "float32[2, 3] does not broadcast to [2, 4]"],
    [() => ops.expand(f(2, 3), [3]), "float32[2, 3] does not broadcast to [3]"],
  ],
  upsampleNearest: [
    [() => ops.upsampleNearest(f(2, 3, 4), 4, 4), "float32[2, 3, 4] is not [B, C, H, W]"],
    [() => ops.upsampleNearest(f(1, 2, 3, 4), 2, 8), "2x8 is smaller than float32[1, 2, 3, 4]"],
    [() => ops.upsampleNearest(f(1, 2, 3, 4), 4.5, 8), "size [4.5, 8] must be non-negative integers"],
  ],
  gatherRows: [
    [
      () => ops.gatherRows(f(4, 2), f(3)),
      "needs a table [rows, D] and int64 ids, not float32[4, 2] and float32[3]",
    ],
    [
      () => ops.gatherRows(f(4), of("int64", 3)),
      "needs a table [rows, D] and int64 ids, not float32[4] and int64[3]",
    ],
  ],
  scatterRows: [
    [
      () => ops.scatterRows(f(3, 2), of("int64", 4), 5),
      "needs updates [..., D] and int64 ids [...], not float32[3, 2] and int64[4]",
    ],
    [
      () => ops.scatterRows(f(3, 2), of("int32", 3), 5),
      "needs updates [..., D] and int64 ids [...], not float32[3, 2] and int32[3]",
    ],
    [() => ops.scatterRows(f(3, 2), of("int64", 3), 0), "rows [0] must be positive integers"],
  ],
}

describe.each(Object.keys(shapeRules) as Op[])("%s", (op) => {
  if (refused[op].length === 0) test.skip("refuses nothing", () => {})
  else
    test.each(refused[op].map(([call, reason]) => ({ call, reason })))(
      "refuses: $reason",
      ({ call, reason }) => {
        expect(call).toThrow(LimnError)
        expect(call).toThrow(new RegExp(`^${escaped(`${op}: ${reason}.`)}$`))
      },
    )
})

test("an error's trace points at the call that is wrong", () => {
  const wrong = () => ops.add(f(2), f(3))
  let trace = ""
  try {
    wrong()
  } catch (error) {
    trace = (error as Error).stack ?? ""
  }
  expect(trace).toMatch(/at wrong .*graph-shapes\.test\.ts/)
})

test("what changes nothing is no operator", () => {
  const x = f(2, 3)
  for (const same of [
    ops.reshape(x, [2, 3]),
    ops.transpose(x, [0, 1]),
    ops.slice(x, 1, 0, 3),
    ops.pad(x, [0, 0], [0, 0]),
    ops.expand(x, [2, 3]),
    ops.concat([x], 1),
    ops.cast(x, "float32"),
    ops.scale(x, 1),
    ops.reduceSum(x, []),
    ops.sumTo(x, [2, 3]),
  ])
    expect(same).toBe(x)
})

test("a constant has its tensor's type", () => {
  expect(constant(float32([2, 1], [1, 2]))).toMatchObject({ dtype: "float32", shape: [2, 1] })
})

function escaped(text: string): string {
  return text.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")
}
