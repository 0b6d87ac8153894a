import { describe, expect, test } from "vitest"
import { encodeOnnxModel } from "../../src/formats/onnx.ts"
import { build, order, toOnnx } from "../../src/graph/build.ts"
import { gradient } from "../../src/graph/gradient.ts"
import { constant, input } from "../../src/graph/node.ts"
import * as ops from "../../src/graph/ops/index.ts"
import { print } from "../../src/graph/print.ts"
import type { Value } from "../../src/graph/value.ts"
import { inputWeights, type StoredWeight, storedWeights, type Weights } from "../../src/graph/weights.ts"
import { FormatError, LimnError } from "../../src/ground/errors.ts"
import type { Shape } from "../../src/ground/shape.ts"
import { sizeOf } from "../../src/ground/shape.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { resnetBlock } from "../../src/models/layers/residual.ts"
import { transformer2d } from "../../src/models/layers/transformer.ts"

function fileWeights(
  shapes: Readonly<Record<string, Shape>>,
  dtype: "float32" | "float16" = "float32",
): Weights {
  let offset = 100
  const stored = Object.entries(shapes).map(([name, shape]): [string, StoredWeight] => {
    const length = sizeOf(shape) * (dtype === "float32" ? 4 : 2)
    const storage = { kind: "file", file: "/model.safetensors", offset, length } as const
    offset += length
    return [name, { dtype, shape, storage }]
  })
  return storedWeights(new Map(stored), "/model.safetensors")
}

const resnetShapes = {
  "norm1.weight": [4],
  "norm1.bias": [4],
  "conv1.weight": [6, 4, 3, 3],
  "conv1.bias": [6],
  "time_emb_proj.weight": [6, 8],
  "time_emb_proj.bias": [6],
  "norm2.weight": [6],
  "norm2.bias": [6],
  "conv2.weight": [6, 6, 3, 3],
  "conv2.bias": [6],
  "conv_shortcut.weight": [6, 4, 1, 1],
  "conv_shortcut.bias": [6],
}

const attentionShapes = (width: number, context: number) => ({
  "to_q.weight": [width, width],
  "to_k.weight": [width, context],
  "to_v.weight": [width, context],
  "to_out.0.weight": [width, width],
  "to_out.0.bias": [width],
})

const block = "transformer_blocks.0"
const transformerShapes: Record<string, Shape> = {
  "norm.weight": [4],
  "norm.bias": [4],
  "proj_in.weight": [4, 4, 1, 1],
  "proj_in.bias": [4],
  "proj_out.weight": [4, 4, 1, 1],
  "proj_out.bias": [4],
  ...within(`${block}.attn1`, attentionShapes(4, 4)),
  ...within(`${block}.attn2`, attentionShapes(4, 5)),
  [`${block}.ff.net.0.proj.weight`]: [32, 4],
  [`${block}.ff.net.0.proj.bias`]: [32],
  [`${block}.ff.net.2.weight`]: [4, 16],
  [`${block}.ff.net.2.bias`]: [4],
}
for (const n of [1, 2, 3])
  Object.assign(transformerShapes, {
    [`${block}.norm${n}.weight`]: [4],
    [`${block}.norm${n}.bias`]: [4],
  })

function within(folder: string, shapes: Readonly<Record<string, Shape>>) {
  return Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [`${folder}.${name}`, shape]))
}

function resnet(weights = fileWeights(resnetShapes)) {
  const x = input("x", "float32", [2, 4, 8, 8])
  const time = input("time", "float32", [2, 8])
  return { y: resnetBlock(x, time, weights, { groups: 2, eps: 1e-5 }) }
}

describe("print", () => {
  test("a residual block", () => {
    expect(print(build(resnet()))).toMatchInlineSnapshot(`
      "input x: float32[2, 4, 8, 8]
      conv_shortcut/conv2d = conv2d(x, conv_shortcut.weight, conv_shortcut.bias, stride=1, padding=[0, 0, 0, 0]): float32[2, 6, 8, 8]
      norm1/groupNorm = groupNorm(x, norm1.weight, norm1.bias, groups=2, eps=0.00001): float32[2, 4, 8, 8]
      norm1/sigmoidGate = sigmoidGate(norm1/groupNorm, alpha=1): float32[2, 4, 8, 8]
      conv1/conv2d = conv2d(norm1/sigmoidGate, conv1.weight, conv1.bias, stride=1, padding=[1, 1, 1, 1]): float32[2, 6, 8, 8]
      input time: float32[2, 8]
      sigmoidGate = sigmoidGate(time, alpha=1): float32[2, 8]
      time_emb_proj/matmul = matmul(sigmoidGate, time_emb_proj.weight, transA=false, transB=true, scale=1): float32[2, 6]
      time_emb_proj/add = add(time_emb_proj/matmul, time_emb_proj.bias): float32[2, 6]
      time_emb_proj/reshape = reshape(time_emb_proj/add, shape=[2, 6, 1, 1]): float32[2, 6, 1, 1]
      conv1/add = add(conv1/conv2d, time_emb_proj/reshape): float32[2, 6, 8, 8]
      norm2/groupNorm = groupNorm(conv1/add, norm2.weight, norm2.bias, groups=2, eps=0.00001): float32[2, 6, 8, 8]
      norm2/sigmoidGate = sigmoidGate(norm2/groupNorm, alpha=1): float32[2, 6, 8, 8]
      conv2/conv2d = conv2d(norm2/sigmoidGate, conv2.weight, conv2.bias, stride=1, padding=[1, 1, 1, 1]): float32[2, 6, 8, 8]
      conv_shortcut/add = add(conv_shortcut/conv2d, conv2/conv2d): float32[2, 6, 8, 8]
      output y = conv_shortcut/add"
    `)
  })

  test("a transformer block", () => {
    const x = input("x", "float32", [1, 4, 2, 3])
    const context = input("context", "float32", [1, 7, 5])
    const options = { layers: 1, heads: 2, groups: 2, linearProjection: false, onlyCrossAttention: false }
    const y = transformer2d(x, context, fileWeights(transformerShapes), options)
    expect(print(build({ y }))).toMatchInlineSnapshot(`
      "input x: float32[1, 4, 2, 3]
      norm/groupNorm = groupNorm(x, norm.weight, norm.bias, groups=2, eps=0.000001): float32[1, 4, 2, 3]
      proj_in/conv2d = conv2d(norm/groupNorm, proj_in.weight, proj_in.bias, stride=1, padding=[0, 0, 0, 0]): float32[1, 4, 2, 3]
      proj_in/transpose = transpose(proj_in/conv2d, permutation=[0, 2, 3, 1]): float32[1, 2, 3, 4]
      proj_in/reshape = reshape(proj_in/transpose, shape=[1, 6, 4]): float32[1, 6, 4]
      transformer_blocks.0.norm1/layerNorm = layerNorm(proj_in/reshape, transformer_blocks.0.norm1.weight, transformer_blocks.0.norm1.bias, eps=0.00001): float32[1, 6, 4]
      transformer_blocks.0.attn1.to_q/matmul = matmul(transformer_blocks.0.norm1/layerNorm, transformer_blocks.0.attn1.to_q.weight, transA=false, transB=true, scale=1): float32[1, 6, 4]
      transformer_blocks.0.attn1.to_k/matmul = matmul(transformer_blocks.0.norm1/layerNorm, transformer_blocks.0.attn1.to_k.weight, transA=false, transB=true, scale=1): float32[1, 6, 4]
      transformer_blocks.0.attn1.to_v/matmul = matmul(transformer_blocks.0.norm1/layerNorm, transformer_blocks.0.attn1.to_v.weight, transA=false, transB=true, scale=1): float32[1, 6, 4]
      transformer_blocks.0.attn1.to_q/attention = attention(transformer_blocks.0.attn1.to_q/matmul, transformer_blocks.0.attn1.to_k/matmul, transformer_blocks.0.attn1.to_v/matmul, heads=2, scale=0.7071067811865475): float32[1, 6, 4]
      transformer_blocks.0.attn1.to_out.0/matmul = matmul(transformer_blocks.0.attn1.to_q/attention, transformer_blocks.0.attn1.to_out.0.weight, transA=false, transB=true, scale=1): float32[1, 6, 4]
      transformer_blocks.0.attn1.to_out.0/add = add(transformer_blocks.0.attn1.to_out.0/matmul, transformer_blocks.0.attn1.to_out.0.bias): float32[1, 6, 4]
      transformer_blocks.0.attn1.to_out.0/add_1 = add(transformer_blocks.0.attn1.to_out.0/add, proj_in/reshape): float32[1, 6, 4]
      transformer_blocks.0.norm2/layerNorm = layerNorm(transformer_blocks.0.attn1.to_out.0/add_1, transformer_blocks.0.norm2.weight, transformer_blocks.0.norm2.bias, eps=0.00001): float32[1, 6, 4]
      transformer_blocks.0.attn2.to_q/matmul = matmul(transformer_blocks.0.norm2/layerNorm, transformer_blocks.0.attn2.to_q.weight, transA=false, transB=true, scale=1): float32[1, 6, 4]
      input context: float32[1, 7, 5]
      transformer_blocks.0.attn2.to_k/matmul = matmul(context, transformer_blocks.0.attn2.to_k.weight, transA=false, transB=true, scale=1): float32[1, 7, 4]
      transformer_blocks.0.attn2.to_v/matmul = matmul(context, transformer_blocks.0.attn2.to_v.weight, transA=false, transB=true, scale=1): float32[1, 7, 4]
      transformer_blocks.0.attn2.to_q/attention = attention(transformer_blocks.0.attn2.to_q/matmul, transformer_blocks.0.attn2.to_k/matmul, transformer_blocks.0.attn2.to_v/matmul, heads=2, scale=0.7071067811865475): float32[1, 6, 4]
      transformer_blocks.0.attn2.to_out.0/matmul = matmul(transformer_blocks.0.attn2.to_q/attention, transformer_blocks.0.attn2.to_out.0.weight, transA=false, transB=true, scale=1): float32[1, 6, 4]
      transformer_blocks.0.attn2.to_out.0/add = add(transformer_blocks.0.attn2.to_out.0/matmul, transformer_blocks.0.attn2.to_out.0.bias): float32[1, 6, 4]
      transformer_blocks.0.attn2.to_out.0/add_1 = add(transformer_blocks.0.attn2.to_out.0/add, transformer_blocks.0.attn1.to_out.0/add_1): float32[1, 6, 4]
      transformer_blocks.0.norm3/layerNorm = layerNorm(transformer_blocks.0.attn2.to_out.0/add_1, transformer_blocks.0.norm3.weight, transformer_blocks.0.norm3.bias, eps=0.00001): float32[1, 6, 4]
      transformer_blocks.0.ff.net.0.proj/matmul = matmul(transformer_blocks.0.norm3/layerNorm, transformer_blocks.0.ff.net.0.proj.weight[0:16], transA=false, transB=true, scale=1): float32[1, 6, 16]
      transformer_blocks.0.ff.net.0.proj/add = add(transformer_blocks.0.ff.net.0.proj/matmul, transformer_blocks.0.ff.net.0.proj.bias[0:16]): float32[1, 6, 16]
      transformer_blocks.0.ff.net.0.proj/matmul_1 = matmul(transformer_blocks.0.norm3/layerNorm, transformer_blocks.0.ff.net.0.proj.weight[16:32], transA=false, transB=true, scale=1): float32[1, 6, 16]
      transformer_blocks.0.ff.net.0.proj/add_1 = add(transformer_blocks.0.ff.net.0.proj/matmul_1, transformer_blocks.0.ff.net.0.proj.bias[16:32]): float32[1, 6, 16]
      transformer_blocks.0.ff.net.0.proj/gelu = gelu(transformer_blocks.0.ff.net.0.proj/add_1): float32[1, 6, 16]
      transformer_blocks.0.ff.net.0.proj/mul = mul(transformer_blocks.0.ff.net.0.proj/add, transformer_blocks.0.ff.net.0.proj/gelu): float32[1, 6, 16]
      transformer_blocks.0.ff.net.2/matmul = matmul(transformer_blocks.0.ff.net.0.proj/mul, transformer_blocks.0.ff.net.2.weight, transA=false, transB=true, scale=1): float32[1, 6, 4]
      transformer_blocks.0.ff.net.2/add = add(transformer_blocks.0.ff.net.2/matmul, transformer_blocks.0.ff.net.2.bias): float32[1, 6, 4]
      transformer_blocks.0.ff.net.2/add_1 = add(transformer_blocks.0.ff.net.2/add, transformer_blocks.0.attn2.to_out.0/add_1): float32[1, 6, 4]
      transformer_blocks.0.ff.net.2/reshape = reshape(transformer_blocks.0.ff.net.2/add_1, shape=[1, 2, 3, 4]): float32[1, 2, 3, 4]
      transformer_blocks.0.ff.net.2/transpose = transpose(transformer_blocks.0.ff.net.2/reshape, permutation=[0, 3, 1, 2]): float32[1, 4, 2, 3]
      proj_out/conv2d = conv2d(transformer_blocks.0.ff.net.2/transpose, proj_out.weight, proj_out.bias, stride=1, padding=[0, 0, 0, 0]): float32[1, 4, 2, 3]
      proj_out/add = add(proj_out/conv2d, x): float32[1, 4, 2, 3]
      output y = proj_out/add"
    `)
  })

  test("a gradient", () => {
    const [x, w] = [input("x", "float32", [2, 3]), input("layer.weight", "float32", [4, 3])]
    const loss = ops.reduceSum(ops.silu(ops.matmul(x, w, { transB: true })))
    const [g] = gradient(loss, [w])
    expect(print(build({ loss, g }))).toMatchInlineSnapshot(`
      "input x: float32[2, 3]
      input layer.weight: float32[4, 3]
      layer/matmul = matmul(x, layer.weight, transA=false, transB=true, scale=1): float32[2, 4]
      layer/sigmoidGate = sigmoidGate(layer/matmul, alpha=1): float32[2, 4]
      layer/reduceSum = reduceSum(layer/sigmoidGate, axes=[0, 1], keepDims=false): float32[]
      reshape = reshape(1, shape=[1, 1]): float32[1, 1]
      expand = expand(reshape, shape=[2, 4]): float32[2, 4]
      layer/sigmoid = sigmoid(layer/matmul): float32[2, 4]
      layer/mul = mul(layer/sigmoidGate, layer/sigmoid): float32[2, 4]
      layer/sub = sub(layer/sigmoidGate, layer/mul): float32[2, 4]
      layer/add = add(layer/sigmoid, layer/sub): float32[2, 4]
      mul = mul(expand, layer/add): float32[2, 4]
      matmul = matmul(mul, x, transA=true, transB=false, scale=1): float32[4, 3]
      output loss = layer/reduceSum
      output g = matmul"
    `)
  })
})

describe("names", () => {
  const x = input("x", "float32", [3])

  test("are those of the weights' folders, or of the first input's", () => {
    const w = inputWeights(
      new Map([
        ["down.0.conv.weight", [3]],
        ["up.bias", [3]],
      ]),
    )
    const scaled = ops.mul(x, w.at("down").at(0).at("conv").get("weight"))
    const y = ops.add(ops.silu(scaled), w.at("up").get("bias"))
    const { names } = build({ y: ops.tanh(y) })
    expect([...names.values()].filter((name) => name.includes("/"))).toEqual([
      "down.0.conv/mul",
      "down.0.conv/sigmoidGate",
      "up/add",
      "up/tanh",
    ])
  })

  test("count where they would repeat, each folder for itself", () => {
    const y = ops.add(ops.sin(x), ops.sin(ops.sin(x)))
    expect(namesOf({ y })).toEqual(["x", "sin", "sin_1", "sin_2", "add"])
  })

  test("stay the same elsewhere when an operator is inserted", () => {
    const model = (between: (h: Value) => Value) => {
      const w = fileWeights({ "a.weight": [3, 3], "b.weight": [3, 3] })
      const h = ops.linear(input("x", "float32", [2, 3]), w.at("a"))
      return namesOf({ y: ops.tanh(ops.linear(between(h), w.at("b"))) })
    }
    const [before, after] = [model((h) => h), model((h) => ops.silu(h))]
    expect(after.filter((name) => !before.includes(name))).toEqual(["a/sigmoidGate"])
    expect(before.filter((name) => !after.includes(name))).toEqual([])
  })

  test("of operators never meet those of inputs, outputs or constants", () => {
    const [sin, constant0] = [input("sin", "float32", [3]), input("constant", "float32", [3])]
    const known = constant(float32([3], [1, 2, 3]))
    const outputs = { add: ops.sin(sin), sin_1: ops.add(ops.sin(constant0), known) }
    const { nodes, initializers, inputs } = toOnnx(build(outputs))
    const made = [...nodes.flatMap((node) => node.outputs), ...initializers.map(({ name }) => name)]
    const all = [...made, ...inputs.map(({ name }) => name)]
    expect(new Set(all).size).toBe(all.length)
    expect(new Set(nodes.map(({ name }) => name)).size).toBe(nodes.length)
  })

  test("that inputs share are refused", () => {
    const y = ops.add(x, input("x", "float32", [3]))
    expect(() => build({ y })).toThrow('Two values of the graph are named "x"; rename one.')
    expect(() => build({ x: ops.sin(x) })).toThrow('Two values of the graph are named "x"; rename one.')
  })
})

describe("toOnnx", () => {
  test("gives the same bytes for the same description", () => {
    const bytes = () => encodeOnnxModel(toOnnx(build(resnet())))
    expect(bytes()).toEqual(bytes())
  })

  test("leaves weights in their files", () => {
    const { initializers } = toOnnx(build(resnet()))
    const weight = initializers.find(({ name }) => name === "norm1.bias")
    expect(weight?.data).toEqual({ location: "/model.safetensors", offset: 116, length: 16 })
  })

  test("writes what the outputs reach, and nothing else", () => {
    const x = input("x", "float32", [3])
    const unused = ops.exp(ops.sin(x))
    const y = ops.cos(x)
    ops.add(y, unused)
    const { nodes } = toOnnx(build({ y }))
    expect(nodes.map(({ op }) => op)).toEqual(["Cos", "Identity"])
  })

  test("computes what two outputs share once", () => {
    const shared = ops.exp(input("x", "float32", [3]))
    const { nodes } = toOnnx(build({ a: ops.sin(shared), b: ops.cos(shared), c: shared }))
    expect(nodes.filter(({ op }) => op === "Exp")).toHaveLength(1)
  })

  test("writes equal small constants once, and a large one once however often it is used", () => {
    const x = input("x", "float32", [200])
    const large = constant(float32([200], new Float32Array(200)))
    const y = ops.add(ops.add(ops.scale(x, 0.5), large), ops.scale(ops.mul(x, large), 0.5))
    const { initializers } = toOnnx(build({ y }))
    expect(initializers.map(({ shape }) => shape)).toEqual([[], [200]])
  })
})

describe("weights", () => {
  const shapes = { "a.weight": [3, 2], "a.bias": [3], "b.c.weight": [4], top: [] }

  test("know what is there, and what nobody has asked for", () => {
    const w = fileWeights(shapes)
    expect(w.has("a")).toBe(true)
    expect(w.has("top")).toBe(true)
    expect(w.at("b").has("c")).toBe(true)
    expect(w.at("b").at("c").has("weight")).toBe(true)
    expect(w.at("b").has("weight")).toBe(false)
    expect(w.has("b.")).toBe(false)
    expect(w.unread()).toEqual(Object.keys(shapes))
    w.at("b").at("c").get("weight")
    w.get("top")
    expect(w.at("a").unread()).toEqual(["a.weight", "a.bias"])
  })

  test("are one value each, however often they are asked for", () => {
    const w = fileWeights(shapes, "float16")
    expect(w.at("a").get("weight")).toBe(w.get("a.weight"))
    expect(w.get("a.weight")).toMatchObject({ op: "cast", dtype: "float32" })
  })

  test("that are not there are named, with where they should be", () => {
    const get = () => fileWeights(shapes).at("b").get("bias")
    expect(get).toThrow(FormatError)
    expect(get).toThrow('The model needs the tensor "b.bias", which is not in /model.safetensors.')
    expect(() => inputWeights(new Map()).get("x")).toThrow(
      'The model needs the tensor "x", which is not in the parameters.',
    )
  })

  test("give rows of a file's tensor as a part of the file", () => {
    const w = fileWeights(shapes, "float16")
    const rows = w.at("a").rows(1, 3)
    expect(rows.get("weight").shape).toEqual([2, 2])
    const { initializers } = toOnnx(build({ y: rows.get("weight"), z: rows.get("bias") }))
    expect(initializers).toEqual([
      {
        name: "a.weight[1:3]",
        dtype: "float16",
        shape: [2, 2],
        data: { location: "/model.safetensors", offset: 104, length: 8 },
      },
      {
        name: "a.bias[1:3]",
        dtype: "float16",
        shape: [2],
        data: { location: "/model.safetensors", offset: 114, length: 4 },
      },
    ])
    expect(w.unread()).toEqual(["b.c.weight", "top"])
  })

  test("give rows of rows, of tensors in memory and of inputs", () => {
    const tensor = float32([4, 2], [0, 1, 2, 3, 4, 5, 6, 7])
    const memory = storedWeights(
      new Map([["x", { dtype: "float32", shape: [4, 2], storage: { kind: "memory", tensor } }]]),
      "here",
    )
    const part = memory.rows(1, 4).rows(1, 2).get("x")
    expect(part.attributes).toMatchObject({ path: "x[2:3]", storage: { tensor: { shape: [1, 2] } } })
    const { initializers } = toOnnx(build({ y: part }))
    expect(initializers[0].data).toEqual(new Uint8Array(Float32Array.of(4, 5).buffer))

    const fed = inputWeights(new Map([["x", [4, 2]]])).rows(2, 4)
    expect(fed.get("x")).toMatchObject({ op: "slice", shape: [2, 2] })
    expect(fed.get("x")).toBe(fed.get("x"))
    expect(fed.unread()).toEqual([])
  })

  test("have no rows where there are none", () => {
    const w = fileWeights(shapes).at("a")
    for (const [start, end] of [
      [2, 4],
      [-1, 2],
      [2, 2],
    ])
      expect(() => w.rows(start, end).get("weight")).toThrow(LimnError)
    expect(() => w.rows(2, 4).get("weight")).toThrow('"a.weight" of [3, 2] has no rows 2 to 4.')
  })
})

test("a graph of 10,000 operators in a row overflows no stack", () => {
  const x = input("x", "float32", [])
  let y: Value = x
  for (let i = 0; i < 10_000; i++) y = ops.sin(y)
  const [g] = gradient(y, [x])
  expect(order([g]).length).toBeGreaterThan(25_000)
  const graph = build({ y, g })
  expect(print(graph).length).toBeGreaterThan(500_000)
  expect(encodeOnnxModel(toOnnx(graph)).length).toBeGreaterThan(500_000)
})

function namesOf(outputs: Readonly<Record<string, Value>>): string[] {
  return [...build(outputs).names.values()]
}
