import type { DeviceRules, Emitter, OnnxRule } from "./emitter.ts"
import { ints } from "./emitter.ts"
import { groupedNorm, numbers, onnxRules, onnxTypes } from "./onnx-rules.ts"
import type { Value } from "./value.ts"
import { isOp } from "./value.ts"

/**
 * What ONNX Runtime's WebGPU provider is told otherwise. It has no kernel for FusedMatMul and LogSoftmax, so that such nodes
 * would run on the CPU, and what they read and give would be carried there and back; and it computes slices that run backwards,
 * and some convolutions, wrongly. docs/decisions/0017 says how that was found, and what other kernels there are.
 */
export const webgpu: DeviceRules = {
  rules: {
    matmul: (emit, [a, b], output, value) => {
      if (isGemm(value)) return writeGemm(emit, [a, b], output, value)
      const { inputs, attributes, dtype } = value
      const { transA, transB, scale } = attributes
      const product = [transA ? turned(emit, a, inputs[0]) : a, transB ? turned(emit, b, inputs[1]) : b]
      if (scale === 1) emit.add("MatMul", product, { output })
      else emit.add("Mul", [emit.add("MatMul", product), emit.constant(numbers(dtype, [scale]))], { output })
    },
    conv2d: (emit, [x, weight, ...bias], output, value) => {
      const channels = value.inputs[0].shape[1]
      // Read by threes, which goes wrong where there are more than three: so are the nine channels of a U-Net for masks.
      const missing = channels > 3 && channels % 3 === 0 ? (4 - (channels % 4)) % 4 : 0
      const widened = (name: string) =>
        missing === 0 ? name : emit.add("Pad", [name, ints(emit, [0, 0, 0, 0, 0, missing, 0, 0])])
      onnxRules.conv2d(emit, [widened(x), widened(weight), ...bias], output, value)
    },
    groupNorm: (emit, [x, scale, bias], output, value) => {
      const { dtype, shape } = value
      // One kernel scales and shifts all channels: normalisation with a mean of 0 and a variance of 1 that are given to it.
      const zeros = emit.constant(numbers(dtype, new Float32Array(shape[1])))
      const ones = emit.constant(numbers(dtype, new Float32Array(shape[1]).fill(1)))
      emit.add("BatchNormalization", [groupedNorm(emit, x, value), scale, bias, zeros, ones], {
        attributes: { epsilon: 0 },
        output,
      })
    },
    logSoftmax: (emit, [x], output) => {
      const last = ints(emit, [-1])
      const below = emit.add("Sub", [x, emit.add("ReduceMax", [x, last])])
      const sum = emit.add("ReduceSum", [emit.add("Exp", [below]), last])
      emit.add("Sub", [below, emit.add("Log", [sum])], { output })
    },
    slice: (emit, [x], output, value) => {
      const { inputs, attributes } = value
      const { axis, start, end, step } = attributes
      if (step > 0) return onnxRules.slice(emit, [x], output, value)
      const [{ shape }] = inputs
      const places = [...Array(shape[axis]).keys()].filter(
        (i) => i <= start && i > end && (start - i) % step === 0,
      )
      const taken = ints(emit, places.reverse())
      emit.add("Gather", [x, taken], { attributes: { axis: BigInt(axis) }, output })
    },
  },
  fusions: {
    cast: {
      // Adapters need not have float16: a table that is stored so is cast when it is loaded.
      reads: ({ inputs: [x], attributes: { to } }, inner) =>
        to === "float32" && isOp(x, "gatherRows") && inner(x) ? x.inputs : undefined,
      write: (emit, [table, ids], output, { inputs: [x], attributes: { to } }) => {
        const full = emit.add("Cast", [table], { attributes: { to: BigInt(onnxTypes[to]) } })
        if (isOp(x, "gatherRows")) onnxRules.gatherRows(emit, [full, ids], output, x)
      },
    },
    add: {
      reads: ({ inputs: [x, bias] }, inner) =>
        isOp(x, "matmul") && inner(x) && isGemm(x) && bias.shape.length === 1 && bias.shape[0] > 1
          ? [...x.inputs, bias]
          : undefined,
      write: (emit, inputs, output, { inputs: [product] }) => {
        if (isOp(product, "matmul")) writeGemm(emit, inputs, output, product)
      },
    },
  },
}

/** Attention as two products with a softmax between them. */
export const composedAttention: OnnxRule<"attention"> = (emit, [q, k, v, mask], output, value) => {
  const { inputs, attributes, dtype, shape } = value
  const { heads, scale } = attributes
  const inHeads = (name: string, { shape: [batch, length, width] }: Value, perm: readonly bigint[]) => {
    const split = emit.add("Reshape", [name, ints(emit, [batch, length, heads, width / heads])])
    return emit.add("Transpose", [split], { attributes: { perm } })
  }
  // Scaled before the product, so that in half precision it does not overflow.
  const scaled = emit.add("Mul", [q, emit.constant(numbers(dtype, [scale]))])
  const [queries, values] = [
    inHeads(scaled, inputs[0], [0n, 2n, 1n, 3n]),
    inHeads(v, inputs[2], [0n, 2n, 1n, 3n]),
  ]
  const product = emit.add("MatMul", [queries, inHeads(k, inputs[1], [0n, 2n, 3n, 1n])])
  const scores = mask ? emit.add("Add", [product, mask]) : product
  const weights = emit.add("Softmax", [scores], { attributes: { axis: -1n } })
  const mixed = emit.add("MatMul", [weights, values])
  const together = emit.add("Transpose", [mixed], { attributes: { perm: [0n, 2n, 1n, 3n] } })
  emit.add("Reshape", [together, ints(emit, shape)], { output })
}

/** Whether a product is one of two matrices, once all axes of its left side but the last are one. */
function isGemm({ inputs: [a, b], attributes: { transA } }: Value<"matmul">): boolean {
  return b.shape.length === 2 && (a.shape.length === 2 || !transA)
}

/** Gemm reads a transposed weight as it lies, and adds a bias; in half precision it sums more exactly than MatMul. */
function writeGemm(
  emit: Emitter,
  [a, ...others]: readonly string[],
  output: string,
  { inputs: [left], attributes, shape }: Value<"matmul">,
): void {
  const { transA, transB, scale } = attributes
  const flat = left.shape.length === 2
  const rows = flat ? a : emit.add("Reshape", [a, ints(emit, [-1, left.shape[left.shape.length - 1]])])
  const product = emit.add("Gemm", [rows, ...others], {
    attributes: { transA: transA ? 1n : 0n, transB: transB ? 1n : 0n, alpha: scale },
    ...(flat && { output }),
  })
  if (!flat) emit.add("Reshape", [product, ints(emit, shape)], { output })
}

/** With its last two axes exchanged. */
function turned(emit: Emitter, name: string, { shape }: Value): string {
  const last = shape.length - 1
  const perm = shape.map((_, i) => BigInt(i < last - 1 ? i : 2 * last - 1 - i))
  return emit.add("Transpose", [name], { attributes: { perm } })
}
