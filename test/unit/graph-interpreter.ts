import { order } from "../../src/graph/build.ts"
import { convolvedSize } from "../../src/graph/convolved-size.ts"
import type { Attributes, Op, Value } from "../../src/graph/value.ts"
import { isOp } from "../../src/graph/value.ts"
import type { Shape } from "../../src/ground/shape.ts"
import { sizeOf } from "../../src/ground/shape.ts"
import { tensor, toFloat32 } from "../../src/ground/tensor.ts"
import type { Numbers } from "./graph-indices.ts"
import { broadcastOffset, forEachIndex, offset } from "./graph-indices.ts"
import { roundedInBlocks, roundedInRange } from "./graph-rounding.ts"

type Meaning<P extends Op> = (
  inputs: readonly Numbers[],
  attributes: Attributes[P],
  shape: Shape,
) => Float64Array

/**
 * Computes described values in double precision, straight from the operators' definitions: what limn's ONNX and
 * gradient rules are held to.
 */
export function interpret(
  values: readonly Value[],
  feeds: Readonly<Record<string, Float64Array>>,
): Float64Array[] {
  const results = new Map<Value, Numbers>()
  for (const value of order(values))
    results.set(value, {
      shape: value.shape,
      data: meaningOf(
        value,
        value.inputs.map((x) => results.get(x)!),
        feeds,
      ),
    })
  return values.map((value) => results.get(value)!.data)
}

function meaningOf<P extends Op>(
  value: Value<P>,
  inputs: readonly Numbers[],
  feeds: Readonly<Record<string, Float64Array>>,
): Float64Array {
  if (isOp(value, "input")) return feeds[value.attributes.name]
  const meaning: Meaning<P> = meanings[value.op]
  return meaning(inputs, value.attributes, value.shape)
}

const each =
  (f: (x: number) => number): Meaning<Op> =>
  ([x]) =>
    x.data.map(f)

const pairs =
  (f: (a: number, b: number) => number): Meaning<Op> =>
  ([a, b], _, shape) => {
    const out = new Float64Array(sizeOf(shape))
    forEachIndex(shape, (index, at) => {
      out[at] = f(a.data[broadcastOffset(a.shape, index)], b.data[broadcastOffset(b.shape, index)])
    })
    return out
  }

function convolved(
  [x, w, bias]: readonly Numbers[],
  { stride, padding }: Attributes["conv2d"],
  shape: Shape,
): Float64Array {
  const out = new Float64Array(sizeOf(shape))
  const [, channels, height, width] = x.shape
  const [, , kh, kw] = w.shape
  forEachIndex(shape, ([n, o, y, z], at) => {
    let sum = bias ? bias.data[o] : 0
    for (let c = 0; c < channels; c++)
      for (let i = 0; i < kh; i++)
        for (let j = 0; j < kw; j++) {
          const row = y * stride + i - padding[0]
          const column = z * stride + j - padding[1]
          if (row >= 0 && row < height && column >= 0 && column < width)
            sum +=
              x.data[((n * channels + c) * height + row) * width + column] *
              w.data[((o * channels + c) * kh + i) * kw + j]
        }
    out[at] = sum
  })
  return out
}

/** Every operator as textbooks write it, one number at a time. */
export const meanings: { readonly [P in Op]: Meaning<P> } = {
  input: () => {
    throw new Error("An input has no meaning but its feed.")
  },
  weight: (_, { storage }) => {
    if (storage.kind === "file") throw new Error("The interpreter reads no files.")
    return Float64Array.from(toFloat32(storage.tensor).data)
  },
  constant: (_, { tensor: { dtype, shape, data } }) =>
    Float64Array.from(toFloat32(tensor(dtype, shape, data)).data),

  add: pairs((a, b) => a + b),
  sub: pairs((a, b) => a - b),
  mul: pairs((a, b) => a * b),
  div: pairs((a, b) => a / b),
  neg: each((x) => -x),
  exp: each(Math.exp),
  log: each(Math.log),
  sqrt: each(Math.sqrt),
  sin: each(Math.sin),
  cos: each(Math.cos),
  tanh: each(Math.tanh),
  sigmoid: each((x) => 1 / (1 + Math.exp(-x))),
  relu: each((x) => Math.max(0, x)),
  sigmoidGate: ([x], { alpha }) => x.data.map((v) => v / (1 + Math.exp(-alpha * v))),
  gelu: each((x) => 0.5 * x * (1 + erf(x * Math.SQRT1_2))),
  erf: each(erf),
  cast: ([x], { to }) =>
    /float/.test(to) ? x.data : x.data.map(to === "bool" ? (v) => (v === 0 ? 0 : 1) : Math.trunc),

  matmul: ([a, b], { transA, transB, scale }, shape) => {
    const out = new Float64Array(sizeOf(shape))
    const depth = a.shape.at(transA ? -2 : -1)!
    forEachIndex(shape, (index, at) => {
      const batch = index.slice(0, -2)
      const [row, column] = index.slice(-2)
      const rightBatch = b.shape.length > 2 ? batch : []
      let sum = 0
      for (let k = 0; k < depth; k++)
        sum +=
          a.data[offset(a.shape, [...batch, ...(transA ? [k, row] : [row, k])])] *
          b.data[offset(b.shape, [...rightBatch, ...(transB ? [column, k] : [k, column])])]
      out[at] = scale * sum
    })
    return out
  },
  quantizedMatmul: ([x, w, scales], { bits, blockSize }, shape) => {
    const out = new Float64Array(sizeOf(shape))
    const [columns, blocks] = scales.shape
    const rounded = roundedInBlocks(x.data, blockSize)
    const perByte = 8 / bits
    for (const at of out.keys()) {
      const row = Math.floor(at / columns)
      const column = at % columns
      for (let k = 0; k < blocks * blockSize; k++) {
        const byte = w.data[Math.floor((column * blocks * blockSize + k) / perByte)]
        const integer = (byte >> (bits * (k % perByte))) & (2 ** bits - 1)
        const scale = scales.data[column * blocks + Math.floor(k / blockSize)]
        out[at] += rounded[row * blocks * blockSize + k] * (integer - 2 ** (bits - 1)) * scale
      }
    }
    return out
  },
  int8Matmul: ([x, w, scales, bias], { perRow }, shape) => {
    const [columns] = scales.shape
    const [wide] = w.shape
    const rounded = perRow ? roundedInBlocks(x.data, wide) : roundedInRange(x.data)
    const out = new Float64Array(sizeOf(shape))
    for (const at of out.keys()) {
      const [row, column] = [Math.floor(at / columns), at % columns]
      for (let k = 0; k < wide; k++)
        out[at] += rounded[row * wide + k] * w.data[k * columns + column] * scales.data[column]
      if (bias) out[at] += bias.data[column]
    }
    return out
  },
  int8Conv2d: ([x, w, scales, bias], { size: read, doubled, kernel, ...options }, [batch, places, out]) => {
    const channels = x.shape[2]
    const times = doubled ? 2 : 1
    const size = read.map((side) => times * side)
    const rounded = roundedInRange(x.data)
    const drawn = {
      shape: [batch, channels, ...size],
      data: new Float64Array(times * times * rounded.length),
    }
    forEachIndex(drawn.shape, ([n, c, i, j], at) => {
      const place = Math.floor(i / times) * read[1] + Math.floor(j / times)
      drawn.data[at] = rounded[offset(x.shape, [n, place, c])]
    })
    // The weight as a convolution has it: [Out, In, kh, kw] of [kh kw In, Out].
    const unscaled = { shape: [out, channels, ...kernel], data: new Float64Array(w.data.length) }
    forEachIndex(unscaled.shape, ([o, c, i, j], at) => {
      const row = (i * kernel[1] + j) * channels + c
      unscaled.data[at] = w.data[row * out + o] * scales.data[o]
    })
    const picture = [batch, out, ...convolvedSize(size, kernel, options)]
    const sums = convolved([drawn, unscaled, bias], options, picture)
    const rows = new Float64Array(sums.length)
    for (const at of sums.keys()) {
      const [n, o, place] = [Math.floor(at / places / out), Math.floor(at / places) % out, at % places]
      rows[(n * places + place) * out + o] = sums[at]
    }
    return rows
  },
  conv2d: convolved,
  convTranspose2d: ([x, w], { stride, padding }, shape) => {
    const out = new Float64Array(sizeOf(shape))
    const [, outChannels, height, width] = shape
    const [, , kh, kw] = w.shape
    forEachIndex(x.shape, ([n, c, y, z], at) => {
      for (let o = 0; o < outChannels; o++)
        for (let i = 0; i < kh; i++)
          for (let j = 0; j < kw; j++) {
            const row = y * stride + i - padding[0]
            const column = z * stride + j - padding[1]
            if (row >= 0 && row < height && column >= 0 && column < width)
              out[offset(shape, [n, o, row, column])] += x.data[at] * w.data[offset(w.shape, [c, o, i, j])]
          }
    })
    return out
  },
  attention: ([q, k, v, mask], { heads, scale }, shape) => {
    const out = new Float64Array(sizeOf(shape))
    const keys = k.shape[1]
    const perHead = q.shape[2] / heads
    const valuesPerHead = v.shape[2] / heads
    forEachIndex([q.shape[0], heads, q.shape[1]], ([b, h, t]) => {
      const scores = Float64Array.from({ length: keys }, (_, s) => {
        let sum = 0
        for (let d = h * perHead; d < (h + 1) * perHead; d++)
          sum += q.data[offset(q.shape, [b, t, d])] * k.data[offset(k.shape, [b, s, d])]
        return scale * sum + (mask ? mask.data[broadcastOffset(mask.shape, [b, h, t, s])] : 0)
      })
      const weights = softmaxOf(scores)
      for (let d = h * valuesPerHead; d < (h + 1) * valuesPerHead; d++)
        for (let s = 0; s < keys; s++)
          out[offset(shape, [b, t, d])] += weights[s] * v.data[offset(v.shape, [b, s, d])]
    })
    return out
  },

  groupNorm: ([x, scale, bias], { groups, eps }) => {
    const [b, channels] = x.shape
    const places = x.data.length / b / channels
    return rows(x.data, x.data.length / b / groups, (row, g) =>
      normalised(row, eps).map((v, i) => {
        const channel = (g % groups) * (channels / groups) + Math.floor(i / places)
        return v * scale.data[channel] + bias.data[channel]
      }),
    )
  },
  groupNormRows: ([x, scale, bias], { groups, eps }) => {
    const [b, places, channels] = x.shape
    const each = channels / groups
    const out = new Float64Array(x.data.length)
    for (let n = 0; n < b; n++)
      for (let g = 0; g < groups; g++) {
        const at = (i: number) => (n * places + Math.floor(i / each)) * channels + g * each + (i % each)
        const group = Float64Array.from({ length: places * each }, (_, i) => x.data[at(i)])
        for (const [i, v] of normalised(group, eps).entries()) {
          const channel = at(i) % channels
          out[at(i)] = v * scale.data[channel] + bias.data[channel]
        }
      }
    return out
  },
  layerNorm: ([x, scale, bias], { eps }) =>
    rows(x.data, x.shape.at(-1)!, (row) =>
      normalised(row, eps).map((v, i) => v * scale.data[i] + bias.data[i]),
    ),
  rmsNorm: ([x, scale], { eps }) =>
    rows(x.data, x.shape.at(-1)!, (row) => {
      const square = row.reduce((sum, v) => sum + v * v, 0) / row.length
      return row.map((v, i) => (v * scale.data[i]) / Math.sqrt(square + eps))
    }),
  softmax: ([x]) => rows(x.data, x.shape.at(-1)!, softmaxOf),
  logSoftmax: ([x]) => rows(x.data, x.shape.at(-1)!, (row) => softmaxOf(row).map(Math.log)),

  reduceSum: ([x], { axes }) => reduced(x, axes),
  reduceMean: ([x], { axes }) => {
    const count = axes.reduce((n, axis) => n * x.shape[axis], 1)
    return reduced(x, axes).map((v) => v / count)
  },

  reshape: ([x]) => x.data,
  transpose: ([x], { permutation }, shape) =>
    gathered(x, shape, (index) => x.shape.map((_, axis) => index[permutation.indexOf(axis)])),
  concat: (inputs, { axis }, shape) => {
    const out = new Float64Array(sizeOf(shape))
    let start = 0
    for (const x of inputs) {
      forEachIndex(x.shape, (index, at) => {
        out[
          offset(
            shape,
            index.map((i, k) => (k === axis ? i + start : i)),
          )
        ] = x.data[at]
      })
      start += x.shape[axis]
    }
    return out
  },
  slice: ([x], { axis, start, step }, shape) =>
    gathered(x, shape, (index) => index.map((i, k) => (k === axis ? start + i * step : i))),
  pad: ([x], { before }, shape) => {
    const out = new Float64Array(sizeOf(shape))
    forEachIndex(x.shape, (index, at) => {
      out[
        offset(
          shape,
          index.map((i, k) => i + before[k]),
        )
      ] = x.data[at]
    })
    return out
  },
  expand: ([x], _, shape) => {
    const out = new Float64Array(sizeOf(shape))
    forEachIndex(shape, (index, at) => {
      out[at] = x.data[broadcastOffset(x.shape, index)]
    })
    return out
  },
  upsampleNearest: ([x], { height, width }, shape) =>
    gathered(x, shape, ([b, c, y, z]) => [
      b,
      c,
      Math.floor((y * x.shape[2]) / height),
      Math.floor((z * x.shape[3]) / width),
    ]),
  gatherRows: ([table, ids], _, shape) => {
    const width = shape.at(-1)!
    const out = new Float64Array(sizeOf(shape))
    ids.data.forEach((id, i) => {
      out.set(table.data.subarray(id * width, (id + 1) * width), i * width)
    })
    return out
  },
  scatterRows: ([updates, ids], _, shape) => {
    const out = new Float64Array(sizeOf(shape))
    const width = shape[1]
    ids.data.forEach((id, i) => {
      for (let d = 0; d < width; d++) out[id * width + d] += updates.data[i * width + d]
    })
    return out
  },
}

/** The error function by its power series, whose terms fall soon enough for |x| < 5. */
function erf(x: number): number {
  let term = x
  let sum = x
  for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum) && n < 200; n++) {
    term *= (-x * x) / n
    sum += term / (2 * n + 1)
  }
  return (2 / Math.sqrt(Math.PI)) * sum
}

function softmaxOf(scores: Float64Array): Float64Array {
  const largest = Math.max(...scores)
  const powers = scores.map((v) => Math.exp(v - largest))
  const total = powers.reduce((a, b) => a + b, 0)
  return powers.map((v) => v / total)
}

function normalised(row: Float64Array, eps: number): Float64Array {
  const mean = row.reduce((a, b) => a + b, 0) / row.length
  const variance = row.reduce((a, b) => a + (b - mean) ** 2, 0) / row.length
  return row.map((v) => (v - mean) / Math.sqrt(variance + eps))
}

/** Every run of `length` numbers replaced. */
function rows(
  data: Float64Array,
  length: number,
  replace: (row: Float64Array, number: number) => Float64Array,
): Float64Array {
  const out = new Float64Array(data.length)
  for (let start = 0; start < data.length; start += length)
    out.set(replace(data.slice(start, start + length), start / length), start)
  return out
}

function reduced(x: Numbers, axes: readonly number[]): Float64Array {
  const kept = x.shape.map((d, axis) => (axes.includes(axis) ? 1 : d))
  const out = new Float64Array(sizeOf(kept))
  forEachIndex(x.shape, (index, at) => {
    out[broadcastOffset(kept, index)] += x.data[at]
  })
  return out
}

function gathered(
  x: Numbers,
  shape: Shape,
  from: (index: readonly number[]) => readonly number[],
): Float64Array {
  const out = new Float64Array(sizeOf(shape))
  forEachIndex(shape, (index, at) => {
    out[at] = x.data[offset(x.shape, from(index))]
  })
  return out
}
