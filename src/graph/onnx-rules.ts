import { sizeOf } from "../ground/shape.ts"
import { float32, type Tensor, toHalf } from "../ground/tensor.ts"
import type { Emitter, OnnxRule } from "./emitter.ts"
import { ints, microsoft } from "./emitter.ts"
import { int8Conv2d, int8Matmul } from "./onnx-integers.ts"
import type { Attributes, Op, Value } from "./value.ts"

const plain =
  (op: string): OnnxRule<Op> =>
  (emit, inputs, output) => {
    emit.add(op, inputs, { output })
  }

const reduction =
  (op: string): OnnxRule<"reduceSum" | "reduceMean"> =>
  (emit, [x], output, { attributes: { axes, keepDims } }) => {
    emit.add(op, [x, ints(emit, axes)], { attributes: { keepdims: keepDims ? 1n : 0n }, output })
  }

/** ONNX (opset 21) for every operator, as the CPU runs it best. */
export const onnxRules: { readonly [P in Op]: OnnxRule<P> } = {
  input: () => {},
  weight: () => {},
  constant: () => {},

  add: plain("Add"),
  sub: plain("Sub"),
  mul: plain("Mul"),
  div: plain("Div"),
  neg: plain("Neg"),
  exp: plain("Exp"),
  log: plain("Log"),
  sqrt: plain("Sqrt"),
  sin: plain("Sin"),
  cos: plain("Cos"),
  tanh: plain("Tanh"),
  sigmoid: plain("Sigmoid"),
  relu: plain("Relu"),
  sigmoidGate: (emit, [x], output, { attributes: { alpha } }) => {
    emit.add("QuickGelu", [x], { attributes: { alpha }, domain: microsoft, output })
  },
  gelu: plain("Gelu"),
  erf: plain("Erf"),
  cast: (emit, [x], output, { attributes: { to } }) => {
    emit.add("Cast", [x], { attributes: { to: BigInt(onnxTypes[to]) }, output })
  },

  matmul: (emit, [a, b], output, { attributes: { transA, transB, scale } }) => {
    if (!transA && !transB && scale === 1) emit.add("MatMul", [a, b], { output })
    else
      emit.add("FusedMatMul", [a, b], {
        attributes: { transA: transA ? 1n : 0n, transB: transB ? 1n : 0n, alpha: scale },
        domain: microsoft,
        output,
      })
  },
  quantizedMatmul: (emit, inputs, output, { inputs: [x, w], attributes: { bits, blockSize } }) => {
    emit.add("MatMulNBits", inputs, {
      attributes: {
        K: BigInt(x.shape[x.shape.length - 1]),
        N: BigInt(w.shape[0]),
        bits: BigInt(bits),
        block_size: BigInt(blockSize),
        accuracy_level: 4n, // x is rounded to eight bits, block by block, and the sums are of integers
      },
      domain: microsoft,
      output,
    })
  },
  conv2d: (emit, inputs, output, { attributes: { stride, padding } }) => {
    emit.add("Conv", inputs, { attributes: convAttributes(stride, padding), output })
  },
  int8Matmul,
  int8Conv2d,
  convTranspose2d: (emit, inputs, output, { attributes: { stride, padding, outputPadding } }) => {
    const attributes = { ...convAttributes(stride, padding), output_padding: outputPadding.map(BigInt) }
    emit.add("ConvTranspose", inputs, { attributes, output })
  },
  attention: (emit, [q, k, v, mask], output, { attributes: { heads, scale } }) => {
    const inputs = mask ? [q, k, v, "", "", mask] : [q, k, v]
    emit.add("MultiHeadAttention", inputs, {
      attributes: { num_heads: BigInt(heads), scale },
      domain: microsoft,
      output,
    })
  },

  groupNorm: (emit, [x, scale, bias], output, value) => {
    const perChannel = ints(emit, [value.shape[1], ...value.shape.slice(2).map(() => 1)])
    const scaled = emit.add("Mul", [groupedNorm(emit, x, value), emit.add("Reshape", [scale, perChannel])])
    emit.add("Add", [scaled, emit.add("Reshape", [bias, perChannel])], { output })
  },
  groupNormRows: (emit, [x, scale, bias], output, { shape: [batch, rows, channels], attributes }) => {
    // Sums over rows are products with ones, five times as fast on the CPU as reductions along that axis.
    const { groups, eps } = attributes
    const number = (value: number) => emit.constant(float32([], [value]))
    const each = ints(emit, [1, groups, channels / groups])
    const ones = emit.add("Expand", [number(1), ints(emit, [1, rows])])
    const count = number(1 / ((rows * channels) / groups))
    const meanOf = (of: string) => {
      const grouped = ints(emit, [batch, groups, channels / groups])
      const sums = emit.add("Reshape", [emit.add("MatMul", [ones, of]), grouped])
      return emit.add("Mul", [emit.add("ReduceSum", [sums, ints(emit, [2])]), count])
    }
    const mean = meanOf(x)
    const variance = emit.add("Sub", [meanOf(emit.add("Mul", [x, x])), emit.add("Mul", [mean, mean])])
    // What is all but constant may come out below 0.
    const raised = emit.add("Add", [emit.add("Max", [variance, number(0)]), number(eps)])
    const factor = emit.add("Div", [emit.add("Reshape", [scale, each]), emit.add("Sqrt", [raised])])
    const offset = emit.add("Sub", [emit.add("Reshape", [bias, each]), emit.add("Mul", [mean, factor])])
    const perChannel = ints(emit, [batch, 1, channels])
    const scaled = emit.add("Mul", [x, emit.add("Reshape", [factor, perChannel])])
    emit.add("Add", [scaled, emit.add("Reshape", [offset, perChannel])], { output })
  },
  layerNorm: (emit, inputs, output, { attributes: { eps } }) => {
    emit.add("LayerNormalization", inputs, { attributes: { axis: -1n, epsilon: eps }, output })
  },
  rmsNorm: (emit, inputs, output, { attributes: { eps } }) => {
    // ONNX Runtime's own from before ONNX had RMSNormalization, and of its main domain; all providers have it.
    emit.add("SimplifiedLayerNormalization", inputs, { attributes: { axis: -1n, epsilon: eps }, output })
  },
  softmax: (emit, [x], output) => {
    emit.add("Softmax", [x], { attributes: { axis: -1n }, output })
  },
  logSoftmax: (emit, [x], output) => {
    emit.add("LogSoftmax", [x], { attributes: { axis: -1n }, output })
  },

  reduceSum: reduction("ReduceSum"),
  reduceMean: reduction("ReduceMean"),

  reshape: (emit, [x], output, { attributes: { shape } }) => {
    emit.add("Reshape", [x, ints(emit, shape)], { output })
  },
  transpose: (emit, [x], output, { attributes: { permutation } }) => {
    emit.add("Transpose", [x], { attributes: { perm: permutation.map(BigInt) }, output })
  },
  concat: (emit, inputs, output, { attributes: { axis } }) => {
    emit.add("Concat", inputs, { attributes: { axis: BigInt(axis) }, output })
  },
  slice: (emit, [x], output, { inputs, attributes }) => {
    const { axis, start, step } = attributes
    // Running backwards to the first element ends at "one before it", which ONNX writes as a large negative number.
    const end = step < 0 && attributes.end < 0 ? -inputs[0].shape[axis] - 1 : attributes.end
    emit.add("Slice", [x, ints(emit, [start]), ints(emit, [end]), ints(emit, [axis]), ints(emit, [step])], {
      output,
    })
  },
  pad: (emit, [x], output, { attributes: { before, after } }) => {
    emit.add("Pad", [x, ints(emit, [...before, ...after])], { output })
  },
  expand: (emit, [x], output, { attributes: { shape } }) => {
    emit.add("Expand", [x, ints(emit, shape)], { output })
  },
  upsampleNearest: (emit, [x], output, { shape }) => {
    const attributes = {
      mode: "nearest",
      coordinate_transformation_mode: "asymmetric",
      nearest_mode: "floor",
    }
    emit.add("Resize", [x, "", "", ints(emit, shape)], { attributes, output })
  },
  gatherRows: (emit, [table, ids], output) => {
    emit.add("Gather", [table, ids], { attributes: { axis: 0n }, output })
  },
  scatterRows: (emit, [updates, ids], output, { inputs, shape, dtype }) => {
    const count = sizeOf(inputs[1].shape)
    const flat = emit.add("Reshape", [updates, ints(emit, [count, shape[1]])])
    const index = emit.add("Reshape", [ids, ints(emit, [count, 1])])
    const empty = emit.add("Expand", [emit.constant(numbers(dtype, new Float32Array(1))), ints(emit, shape)])
    emit.add("ScatterND", [empty, index, flat], { attributes: { reduction: "add" }, output })
  },
}

/** ONNX's numbers for the element types (TensorProto.DataType). */
export const onnxTypes = {
  float32: 1,
  uint8: 2,
  int8: 3,
  int32: 6,
  int64: 7,
  bool: 9,
  float16: 10,
  float64: 11,
  bfloat16: 16,
} as const

/** A vector of numbers in the element type of what is computed with them. */
export function numbers(dtype: Value["dtype"], values: ArrayLike<number>): Tensor {
  const full = float32([values.length], values)
  return dtype === "float16" ? toHalf(full, "float16") : full
}

/** The groups of channels to mean 0 and variance 1, in the shape of x, and not yet scaled. */
export function groupedNorm(
  emit: Emitter,
  x: string,
  { dtype, shape, attributes }: Value<"groupNorm">,
): string {
  // InstanceNormalization over [B, groups, rest] runs on every provider, and faster on the CPU than GroupNormalization.
  const { groups, eps } = attributes
  const grouped = emit.add("Reshape", [x, ints(emit, [shape[0], groups, sizeOf(shape) / shape[0] / groups])])
  const one = emit.constant(numbers(dtype, new Float32Array(groups).fill(1)))
  const zero = emit.constant(numbers(dtype, new Float32Array(groups)))
  const normal = emit.add("InstanceNormalization", [grouped, one, zero], { attributes: { epsilon: eps } })
  return emit.add("Reshape", [normal, ints(emit, shape)])
}

function convAttributes(stride: number, padding: Attributes["conv2d"]["padding"]) {
  return { strides: [BigInt(stride), BigInt(stride)], pads: padding.map(BigInt) }
}
