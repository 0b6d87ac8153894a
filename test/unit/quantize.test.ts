import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test, vi } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import { linear } from "../../src/graph/ops/index.ts"
import {
  quantizableWeights,
  quantizeProducts,
  TURNED_TOGETHER,
  turnableWeights,
  turnProducts,
} from "../../src/graph/passes/quantize.ts"
import type { Value } from "../../src/graph/value.ts"
import type { BlockFormat } from "../../src/ground/block-integers.ts"
import { toBlockIntegers } from "../../src/ground/block-integers.ts"
import { hadamard, turnBlocks } from "../../src/ground/hadamard.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, int64 } from "../../src/ground/tensor.ts"
import { clipText } from "../../src/models/clip-text.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { clipTextParameters } from "../../src/models/parameters/clip-text.ts"
import type { Component } from "../../src/pipelines/component.ts"
import { componentWeights, openComponent } from "../../src/pipelines/component.ts"
import type { Int8Options } from "../../src/pipelines/int8-weights.ts"
import { int8Weights } from "../../src/pipelines/int8-weights.ts"
import { quantizedWeights, roundedPlace } from "../../src/pipelines/quantized-weights.ts"
import { openSession } from "../../src/runtime/session.ts"
import { dice } from "./dice.ts"
import { cosineOf } from "./golden.ts"

const formats: BlockFormat[] = ([4, 8] as const).flatMap((bits) =>
  [16, 32, 64].map((blockSize) => ({ bits, blockSize })),
)

describe.each(formats)("$bits bits in blocks of $blockSize", ({ bits, blockSize }) => {
  test("no number is off by more than a scale, nearly all by half of one", () => {
    const random = dice(bits * blockSize)
    const values = new Float32Array(100 * blockSize).map(() => (random.next() - 0.5) * 10 ** random.below(6))
    const { integers, scales } = toBlockIntegers(values, { bits, blockSize })
    let beyondHalf = 0
    for (const [i, value] of values.entries()) {
      const scale = scales[Math.floor(i / blockSize)]
      const error = Math.abs(value - scale * (integerAt(integers, i, bits) - 2 ** (bits - 1)))
      if (!(error <= Math.abs(scale) * 1.0001)) expect.fail(`${value} is off by ${error}`)
      if (error > Math.abs(scale) * 0.5001) beyondHalf++
    }
    expect(beyondHalf / values.length).toBeLessThan(0.1)
  })

  test("zeros stay zeros, and the largest number itself", () => {
    const values = new Float32Array(2 * blockSize)
    values[blockSize + 3] = -7
    values[blockSize + 4] = 3.5
    const { integers, scales } = toBlockIntegers(values, { bits, blockSize })
    const back = Float32Array.from(
      values,
      (_, i) => scales[Math.floor(i / blockSize)] * (integerAt(integers, i, bits) - 2 ** (bits - 1)),
    )
    // Not toEqual, to which a zero of the other sign is another number.
    for (const [i, value] of values.entries()) expect(back[i] === value, `${i}`).toBe(true)
  })
})

function integerAt(integers: Uint8Array, i: number, bits: number): number {
  return bits === 8 ? integers[i] : (integers[i >> 1] >> (i % 2 === 0 ? 0 : 4)) & 15
}

describe.each([1, 2, 8, 32, 128])("rows turned in blocks of %i", (size) => {
  const rows = (seed: number) => cpuGenerator(seed).randn([3 * size]).data

  test("have the same products", () => {
    const [a, b] = [rows(1), rows(2)]
    const product = () => a.reduce((sum, value, i) => sum + value * b[i], 0)
    const exact = product()
    for (const each of [a, b]) turnBlocks(each, size)
    expect(product()).toBeCloseTo(exact, 3)
  })

  test("are what the matrix makes of them, and turned again themselves", () => {
    const [given, turned, matrix] = [rows(3), rows(3), hadamard(size)]
    turnBlocks(turned, size)
    for (const [i, value] of turned.entries()) {
      const start = i - (i % size)
      let sum = 0
      for (let k = 0; k < size; k++) sum += given[start + k] * matrix[k * size + (i % size)]
      expect(value).toBeCloseTo(sum, 4)
    }
    turnBlocks(turned, size)
    for (const [i, value] of turned.entries()) expect(value).toBeCloseTo(given[i], 5)
  })
})

describe("products of turned rows", () => {
  const folder = mkdtempSync(join(tmpdir(), "limn-turned-"))
  afterAll(() => rmSync(folder, { recursive: true }))
  const [rows, wide, out] = [48, 512, 40]
  const name = "layer.weight"
  const weight = cpuGenerator(1).randn([out, wide])
  const stored = {
    dtype: "float32",
    shape: [out, wide],
    storage: { kind: "memory", tensor: weight },
  } as const
  const component: Component = { path: folder, config: {}, tensors: new Map([[name, stored]]) }
  const exact = () => {
    const w = componentWeights(component, [
      { name, shape: [out, wide], init: { kind: "constant", value: 0 } },
    ])()
    return { y: linear(input("x", "float32", [1, rows, wide]), w.at("layer")) }
  }
  /** Numbers of which those of some channels are so many times as large, as a language model's are. */
  const numbers = (times: number) => {
    const { data } = cpuGenerator(2).randn([1, rows, wide])
    return float32(
      [1, rows, wide],
      data.map((value, i) => ((i % wide) % 171 === 5 ? times * value : value)),
    )
  }

  async function ran(outputs: Readonly<Record<string, Value>>, x: Tensor): Promise<Float32Array> {
    const session = await openSession(toOnnx(build(outputs)), { device: "cpu", threads: 1 })
    const { y } = await session.run({ x })
    await session.close()
    return y.data as Float32Array
  }

  async function turned(options: Pick<Int8Options, "twice"> = {}) {
    const place = { ...roundedPlace({ path: folder }, "int8"), beside: join(folder, "turned") }
    const names = turnableWeights(exact())
    expect(names).toEqual([name])
    const made = await int8Weights(place, component, names, { ...options, turnedTogether: TURNED_TOGETHER })
    return turnProducts(exact(), made())
  }

  /** How far off the numbers of a product are, over their size. */
  async function error(outputs: Readonly<Record<string, Value>>, x: Tensor): Promise<number> {
    const [found, expected] = [await ran(outputs, x), await ran(exact(), x)]
    const size = (values: Float32Array) => Math.sqrt(values.reduce((sum, value) => sum + value * value, 0))
    return size(found.map((value, i) => value - expected[i])) / size(expected)
  }

  test.each([
    { times: 1, most: 0.014, share: 1.5 },
    { times: 20, most: 0.018, share: 0.9 },
    { times: 100, most: 0.018, share: 0.8 },
  ])("bear channels $times times as large, beside blocks of 128", async ({ times, most, share }) => {
    const format = { bits: 8, blockSize: 128 } as const
    const inBlocks = await quantizedWeights(component, [name], format)
    const x = numbers(times)
    const [found, blocks] = [
      await error(await turned(), x),
      await error(quantizeProducts(exact(), inBlocks(), format), x),
    ]
    expect(found).toBeLessThan(most)
    expect(found / blocks).toBeLessThan(share)
  })

  test("lose less of a weight that is rounded twice, and are made anew for it", async () => {
    const once = await error(await turned(), numbers(1))
    expect(await error(await turned({ twice: () => true }), numbers(1))).toBeLessThan(0.8 * once)
    expect(await error(await turned(), numbers(1))).toBe(once)
  })

  test("leave rows of zeros zeros", async () => {
    const zeros = float32([1, rows, wide], new Float32Array(rows * wide))
    expect((await ran(await turned(), zeros)).every((value) => value === 0)).toBe(true)
  })

  test("stand in for those in blocks in one file", async () => {
    let done = 0
    const following = { onProgress: () => done++ }
    const turn = () =>
      int8Weights(roundedPlace(component, "int8"), component, [name], {
        ...following,
        turnedTogether: TURNED_TOGETHER,
      })
    await quantizedWeights(component, [name], { bits: 8, blockSize: 64, ...following })
    await turn()
    await turn()
    expect(done).toBe(2)
  })
})

describe("the text encoder of Inkling", () => {
  const folder = mkdtempSync(join(tmpdir(), "limn-quantize-"))
  afterAll(() => rmSync(folder, { recursive: true }))
  cpSync(join(import.meta.dirname, "../../models/inkling/text_encoder"), folder, { recursive: true })
  const ids = int64(
    [2, 8],
    [4094, 300, 500, 271, 4095, 4095, 4095, 4095, 4094, 912, 33, 8, 77, 4000, 4095, 4095],
  )

  async function encoder() {
    const component = await openComponent(folder)
    const config = clipTextConfig(component.config, folder)
    const weights = componentWeights(component, clipTextParameters(config))()
    const { lastHiddenState } = clipText(input("ids", "int64", [2, 8]), weights, config)
    return { component, outputs: { lastHiddenState } }
  }

  async function run(outputs: Readonly<Record<string, Value>>): Promise<Tensor> {
    const session = await openSession(toOnnx(build(outputs)), { device: "cpu", threads: 1 })
    const { lastHiddenState } = await session.run({ ids })
    await session.close()
    return lastHiddenState
  }

  test.each<BlockFormat & { readonly cosine: number }>([
    { bits: 8, blockSize: 32, cosine: 0.9999 },
    { bits: 8, blockSize: 64, cosine: 0.9999 },
    { bits: 4, blockSize: 32, cosine: 0.98 },
  ])("says the same in $bits bits and blocks of $blockSize", async ({ cosine, ...format }) => {
    const { component, outputs } = await encoder()
    const names = quantizableWeights(outputs, format)
    expect(names).toHaveLength(4 * 6)
    const weights = await quantizedWeights(component, names, format)
    const quantized = quantizeProducts(outputs, weights(), format)
    expect(cosineOf(await run(quantized), await run(outputs))).toBeGreaterThan(cosine)
  })

  test("is rounded once for each version of its weights", async () => {
    const rounds = async (blockSize: number, names?: readonly string[]) => {
      const { component, outputs } = await encoder()
      let done = 0
      const format = { bits: 8, blockSize } as const
      await quantizedWeights(component, names ?? quantizableWeights(outputs, format), {
        ...format,
        onProgress: () => done++,
      })
      return done
    }
    await rounds(32)
    expect(await rounds(32)).toBe(0)
    expect(await rounds(64)).toBe(24)
    const { size } = statSync(file)
    expect(await rounds(64, ["text_model.encoder.layers.0.mlp.fc1.weight"])).toBe(1)
    expect(statSync(file).size).toBeLessThan(size / 4)
  })

  const file = join(folder, "limn-int8.safetensors")
  const layer = "text_model.encoder.layers.0.mlp.fc1.weight"

  /** How many matrices had to be rounded, of that one layer. */
  async function roundsOfLayer(changes: Partial<Component> = {}) {
    const component = { ...(await openComponent(folder)), ...changes }
    let done = 0
    const format = { bits: 8, blockSize: 32, onProgress: () => done++ } as const
    const weights = await quantizedWeights(component, [layer], format)
    expect(weights().has(layer)).toBe(true)
    return done
  }

  test.each<[string, (bytes: Buffer) => Uint8Array]>([
    ["was cut", (bytes) => bytes.subarray(0, bytes.length - 1)],
    ["is empty", () => new Uint8Array(0)],
    ["is something else", () => Buffer.from("not tensors")],
    // As after a crash of the system, where nothing was written yet.
    ["ends with zeros", (bytes) => bytes.fill(0, bytes.length - 1024)],
    [
      "was rounded by other rules",
      (bytes) => {
        bytes[8 + Number(bytes.readBigUInt64LE(0))] ^= 1
        return bytes
      },
    ],
  ])("is rounded again where its file %s", async (_, change) => {
    await roundsOfLayer()
    expect(await roundsOfLayer()).toBe(0)
    const whole = readFileSync(file)
    writeFileSync(file, change(readFileSync(file)))
    expect(await roundsOfLayer()).toBe(1)
    expect(readFileSync(file).equals(whole)).toBe(true)
    expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([])
  })

  test("is kept in limn's cache where it cannot be beside the checkpoint", async () => {
    rmSync(file)
    const cache = join(folder, "cache")
    vi.stubEnv("XDG_CACHE_HOME", cache)
    const path = join(folder, "model.safetensors")
    expect(await roundsOfLayer({ path })).toBe(1)
    expect(await roundsOfLayer({ path })).toBe(0)
    vi.unstubAllEnvs()
    expect(readdirSync(join(cache, "limn"))).toEqual([
      expect.stringMatching(/^model\.safetensors-[0-9a-f]+-int8\.safetensors$/),
    ])
  })

  test("is not touched by blocks that its rows are no multiple of", async () => {
    const { outputs } = await encoder()
    expect(quantizableWeights(outputs, { blockSize: 256 })).toEqual(
      [0, 1, 2, 3].map((layer) => `text_model.encoder.layers.${layer}.mlp.fc2.weight`),
    )
  })
})
