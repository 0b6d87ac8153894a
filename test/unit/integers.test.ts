import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { build, order, toOnnx } from "../../src/graph/build.ts"
import { constant, input, node } from "../../src/graph/node.ts"
import { convolve, sub, toPicture, toSequence, upsampleNearest } from "../../src/graph/ops/index.ts"
import { overIntegers, roundableWeights } from "../../src/graph/passes/integers.ts"
import type { Op, Value } from "../../src/graph/value.ts"
import type { StoredWeight } from "../../src/graph/weights.ts"
import { storedWeights } from "../../src/graph/weights.ts"
import { float32, tensor, toFloat32 } from "../../src/ground/tensor.ts"
import type { Component } from "../../src/pipelines/component.ts"
import { openComponent } from "../../src/pipelines/component.ts"
import { int8Weights } from "../../src/pipelines/int8-weights.ts"
import type { RoundedPlace } from "../../src/pipelines/rounded-file.ts"
import { readStored } from "../../src/pipelines/stored-weight.ts"
import { openSession } from "../../src/runtime/session.ts"
import { cosineOf } from "./golden.ts"
import { runBlock, tensors, tinyBlock } from "./tiny-block.ts"

const count = (outputs: Readonly<Record<string, Value>>, op: Op) =>
  order(Object.values(outputs)).filter((value) => value.op === op).length

describe("a network over integers", () => {
  const folder = mkdtempSync(join(tmpdir(), "limn-integers-"))
  afterAll(() => rmSync(folder, { recursive: true }))
  const beside = join(folder, "limn-int8.safetensors")
  const place: RoundedPlace = { beside, checkpoint: folder, kind: "int8", part: "denoiser" }
  const component: Component = { path: folder, config: {}, tensors }
  const exact = tinyBlock(storedWeights(tensors, "here"))
  const block = "attention.transformer_blocks.0"

  test("rounds what does a block's work, and neither ends nor what carries the picture on", () => {
    expect(roundableWeights(exact).sort()).toEqual(
      [
        "attention.proj_in.weight",
        "attention.proj_out.weight",
        ...["attn1", "attn2"].flatMap((name) =>
          ["to_q", "to_k", "to_v", "to_out.0"].map((layer) => `${block}.${name}.${layer}.weight`),
        ),
        `${block}.ff.net.0.proj.weight[0:256]`,
        `${block}.ff.net.0.proj.weight[256:512]`,
        `${block}.ff.net.2.weight`,
        "resnet.conv1.weight",
        "resnet.conv2.weight",
      ].sort(),
    )
  })

  test("computes nearly the same", async () => {
    const rounded = await int8Weights(place, component, roundableWeights(exact))
    const outputs = overIntegers(exact, rounded())
    expect([count(outputs, "int8Matmul"), count(outputs, "int8Conv2d"), count(outputs, "conv2d")]).toEqual([
      8 + 3 + 2,
      2,
      3,
    ])
    expect(cosineOf(await runBlock(outputs), await runBlock(exact))).toBeGreaterThan(0.9995)
  })

  test("turns no rows into a picture and back", async () => {
    const rounded = await int8Weights(place, component, roundableWeights(exact))
    // One after each convolution of the residual block, and one after the transformer.
    expect(count(overIntegers(exact, rounded()), "transpose")).toBe(3)
  })

  test.each([
    { stride: 1, doubled: false },
    { stride: 2, doubled: false },
    { stride: 1, doubled: true },
  ])("convolves in bands what is too much at once, stride $stride, doubled $doubled", async (how) => {
    const [out, channels, height, width] = [3, 640, 67, 93]
    const whole = (count: number, below: number) =>
      Float32Array.from({ length: count }, (_, i) => ((i * 2654435761) >>> 8) % below)
    // Whole numbers from 0 to 255 are rounded to themselves, so that the sums are exact either way.
    const numbers = float32([1, channels, height, width], whole(channels * height * width, 256))
    const kernel = whole(out * channels * 9, 7).map((value) => value - 3)
    const columns = new Int8Array(kernel.length)
    for (const [at, value] of kernel.entries()) {
      const [o, c, place] = [Math.floor(at / channels / 9), Math.floor(at / 9) % channels, at % 9]
      columns[(place * channels + c) * out + o] = value
    }
    const x = input("x", "float32", numbers.shape)
    const { stride, doubled } = how
    const read = doubled ? upsampleNearest(x, 2 * height, 2 * width) : x
    const exact = convolve(read, constant(float32([out, channels, 3, 3], kernel)), undefined, {
      stride,
      padding: 1,
    })
    const weight = [
      constant(tensor("int8", [9 * channels, out], columns)),
      constant(float32([out], [1, 1, 1])),
    ]
    const rows = node("int8Conv2d", [toSequence(x), ...weight], {
      size: [height, width],
      doubled,
      kernel: [3, 3],
      stride,
      padding: [1, 1, 1, 1],
    })
    const y = sub(toPicture(rows, exact.shape[2], exact.shape[3]), exact)
    const model = toOnnx(build({ y }))
    expect(model.nodes.filter(({ op }) => op === "MatMulIntegerToFloat").length).toBeGreaterThan(1)
    const session = await openSession(model, { device: "cpu", threads: 1 })
    const results = await session.run({ x: numbers })
    await session.close()
    expect(Math.max(...(results.y.data as Float32Array).map(Math.abs))).toBe(0)
  })

  test("leaves a layer as it is whose weight is not rounded", async () => {
    const rounded = await int8Weights({ ...place, beside: join(folder, "one") }, component, [
      "resnet.conv2.weight",
    ])
    const outputs = overIntegers(exact, rounded())
    expect([count(outputs, "int8Matmul"), count(outputs, "int8Conv2d")]).toEqual([0, 1])
    expect(cosineOf(await runBlock(outputs), await runBlock(exact))).toBeGreaterThan(0.9999)
  })
})

describe("rounded weights of a checkpoint", () => {
  const folder = mkdtempSync(join(tmpdir(), "limn-rounded-"))
  beforeAll(() => cpSync(join(import.meta.dirname, "../../models/inkling/unet"), folder, { recursive: true }))
  afterAll(() => rmSync(folder, { recursive: true }))
  const names = ["mid_block.resnets.0.conv1.weight", "mid_block.resnets.1.conv2.weight"]
  const place: RoundedPlace = {
    beside: join(folder, "limn-int8-unet.safetensors"),
    checkpoint: folder,
    kind: "int8-unet",
    part: "denoiser",
  }

  async function rounds(changes: Partial<Component> = {}, signal?: AbortSignal) {
    let done = 0
    const onProgress = () => done++
    const component = { ...(await openComponent(folder)), ...changes }
    const weights = await int8Weights(place, component, names, { signal, onProgress })
    expect(weights().has(names[0])).toBe(true)
    return done
  }

  test("are made once", async () => {
    expect(await rounds()).toBe(2)
    expect(await rounds()).toBe(0)
  })

  test.each<[string, (bytes: Buffer) => Uint8Array]>([
    ["was cut", (bytes) => bytes.subarray(0, bytes.length - 1)],
    ["is empty", () => new Uint8Array(0)],
    ["ends with zeros", (bytes) => bytes.fill(0, bytes.length - 1024)],
  ])("are made again where their file %s", async (_, change) => {
    const whole = readFileSync(place.beside)
    writeFileSync(place.beside, change(readFileSync(place.beside)))
    expect(await rounds()).toBe(2)
    expect(readFileSync(place.beside).equals(whole)).toBe(true)
    expect(readdirSync(folder).filter((name) => name.endsWith(".part"))).toEqual([])
  })

  test("are made again of another version of the checkpoint", async () => {
    const { tensors } = await openComponent(folder)
    // As a checkpoint that was trained on: one layer's numbers are another's.
    const trained = new Map(tensors).set(names[0], tensors.get(names[1])!)
    expect(await rounds({ tensors: trained })).toBe(2)
    expect(await rounds()).toBe(2)
  })

  test("are made again of a version that differs in no scale", async () => {
    const { tensors } = await openComponent(folder)
    const exact = toFloat32(await readStored(tensors.get(names[0])!))
    const row = exact.data.subarray(0, exact.data.length / exact.shape[0])
    const least = row.reduce((at, value, i) => (Math.abs(value) < Math.abs(row[at]) ? i : at), 0)
    const version = (data: Float32Array) => {
      const tensor = { ...exact, data }
      const weight: StoredWeight = { ...tensor, storage: { kind: "memory", tensor } }
      return rounds({ tensors: new Map(tensors).set(names[0], weight) })
    }
    await version(exact.data)
    expect(await version(exact.data)).toBe(0)
    const trained = exact.data.map((value, i) => (i === least ? value / 2 : value))
    expect(await version(trained)).toBe(2)
    await rounds()
  })

  test("are made where they were left off, but for the last, which may not have reached the disk", async () => {
    const many = ["down_blocks.0", "mid_block"].flatMap((block) =>
      [1, 2].map((conv) => `${block}.resnets.0.conv${conv}.weight`),
    )
    const component = await openComponent(folder)
    const made: number[] = []
    const make = (until: number) => {
      const stop = new AbortController()
      const onProgress = ({ done }: { done: number }) => {
        made.push(done)
        if (done === until) stop.abort(new Error("enough"))
      }
      return int8Weights(place, component, many, { signal: stop.signal, onProgress })
    }
    await expect(make(3)).rejects.toThrow("enough")
    await make(Number.POSITIVE_INFINITY)
    expect(made).toEqual([1, 2, 3, 3, 4])
  })
})
