import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import { add, conv2d, groupNorm, silu } from "../../src/graph/ops/index.ts"
import type { Value } from "../../src/graph/value.ts"
import type { StoredWeight, Weights } from "../../src/graph/weights.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Shape } from "../../src/ground/shape.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { resnetBlock } from "../../src/models/layers/residual.ts"
import { transformer2d } from "../../src/models/layers/transformer.ts"
import { openSession } from "../../src/runtime/session.ts"

const channels = 32
const generator = cpuGenerator(11)

/** Weights as a U-Net's block has them: a residual block to twice the channels, and a transformer over what it gives. */
const shapes: Readonly<Record<string, Shape>> = {
  "resnet.norm1.weight": [channels],
  "resnet.norm1.bias": [channels],
  "resnet.conv1.weight": [2 * channels, channels, 3, 3],
  "resnet.conv1.bias": [2 * channels],
  "resnet.norm2.weight": [2 * channels],
  "resnet.norm2.bias": [2 * channels],
  "resnet.conv2.weight": [2 * channels, 2 * channels, 3, 3],
  "resnet.conv2.bias": [2 * channels],
  "resnet.conv_shortcut.weight": [2 * channels, channels, 1, 1],
  "resnet.conv_shortcut.bias": [2 * channels],
  "half.weight": [2 * channels, 2 * channels, 3, 3],
  "out.weight": [3, 2 * channels, 3, 3],
  ...transformerShapes("attention", 2 * channels, 24),
}

function transformerShapes(at: string, width: number, text: number): Record<string, Shape> {
  const block = `${at}.transformer_blocks.0`
  const linear = (name: string, out: number, wide: number, biased = true): Record<string, Shape> => ({
    [`${name}.weight`]: [out, wide],
    ...(biased && { [`${name}.bias`]: [out] }),
  })
  const norm = (name: string): Record<string, Shape> => ({
    [`${name}.weight`]: [width],
    [`${name}.bias`]: [width],
  })
  const attention = (name: string, from: number) => ({
    ...linear(`${name}.to_q`, width, width, false),
    ...linear(`${name}.to_k`, width, from, false),
    ...linear(`${name}.to_v`, width, from, false),
    ...linear(`${name}.to_out.0`, width, width),
  })
  return {
    ...norm(`${at}.norm`),
    [`${at}.proj_in.weight`]: [width, width, 1, 1],
    [`${at}.proj_in.bias`]: [width],
    [`${at}.proj_out.weight`]: [width, width, 1, 1],
    [`${at}.proj_out.bias`]: [width],
    ...norm(`${block}.norm1`),
    ...norm(`${block}.norm2`),
    ...norm(`${block}.norm3`),
    ...attention(`${block}.attn1`, width),
    ...attention(`${block}.attn2`, text),
    ...linear(`${block}.ff.net.0.proj`, 8 * width, width),
    ...linear(`${block}.ff.net.2`, width, 4 * width),
  }
}

/** Random weights of the block. */
export const tensors = new Map(
  Object.entries(shapes).map(([name, shape]): [string, StoredWeight] => {
    const wide = shape.slice(1).reduce((product, side) => product * side, 1)
    const values = generator.randn(shape)
    const data = values.data.map((z) => (shape.length > 1 ? z / Math.sqrt(wide) : 1 + z / 10))
    const tensor = { ...values, data }
    return [name, { dtype: "float32", shape, storage: { kind: "memory", tensor } }]
  }),
)

/** What the block is fed. */
export const feeds = { x: generator.randn([2, channels, 8, 6]), context: generator.randn([2, 9, 24]) }

/** The block, between convolutions as a U-Net has them at its ends. */
export function tinyBlock(w: Weights): Record<string, Value> {
  const x = input("x", "float32", feeds.x.shape)
  const context = input("context", "float32", feeds.context.shape)
  const h = resnetBlock(add(x, x), undefined, w.at("resnet"), { groups: 4, eps: 1e-5 })
  const options = { layers: 1, heads: 4, groups: 4, linearProjection: false, onlyCrossAttention: false }
  const seen = transformer2d(h, context, w.at("attention"), options)
  const half = conv2d(seen, w.at("half"), { stride: 2, padding: 1 })
  const y = conv2d(silu(groupNorm(half, w.at("attention").at("norm"), { groups: 4, eps: 1e-5 })), w.at("out"))
  return { y }
}

/** Runs a graph of the block once. */
export async function runBlock(outputs: Readonly<Record<string, Value>>): Promise<Tensor> {
  const session = await openSession(toOnnx(build(outputs)), { device: "cpu", threads: 1 })
  const { y } = await session.run(feeds)
  await session.close()
  return y
}
