import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import { add, cast } from "../../src/graph/ops/index.ts"
import { toHalfPrecision } from "../../src/graph/passes/precision.ts"
import type { Op, Value } from "../../src/graph/value.ts"
import { storedWeights } from "../../src/graph/weights.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, int64, toFloat32 } from "../../src/ground/tensor.ts"
import { load, textToImage } from "../../src/index.ts"
import { decodeLatents } from "../../src/models/autoencoder-kl.ts"
import { clipText } from "../../src/models/clip-text.ts"
import { autoencoderConfig } from "../../src/models/config/autoencoder.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { unet } from "../../src/models/unet.ts"
import { fusesAttention } from "../../src/runtime/kernel-checks.ts"
import { openSession } from "../../src/runtime/session.ts"
import { dice } from "../unit/dice.ts"
import { cases, feedsOf } from "../unit/graph-cases.ts"
import { interpret } from "../unit/graph-interpreter.ts"
import { tinyModel } from "../unit/tiny-stable-diffusion.ts"

/**
 * WebGPU without a GPU: SwiftShader, of Debian's package chromium, computes in float32 only; Mesa's lavapipe from version 25 on
 * in float16 too, where VK_ICD_FILENAMES names its file. Both are slow, so these tests say nothing of speed.
 */
process.env.VK_ICD_FILENAMES ??= "/usr/lib/chromium/vk_swiftshader_icd.json"
const driver = process.env.VK_ICD_FILENAMES
const device = "webgpu"
const refusal = existsSync(driver) ? await reasonOf(runTiny("float32")) : `there is no ${driver}`
if (refusal) console.warn(`webgpu.test.ts is skipped: ${refusal}.`)
const noHalf = refusal ?? (await reasonOf(runTiny("float16")))
if (!refusal && noHalf) console.warn(`webgpu.test.ts leaves half precision out: ${noHalf}.`)
const fusedAttention = refusal === undefined && (await fusesAttention(device))
if (!refusal && !fusedAttention)
  console.warn("webgpu.test.ts writes attention out: its kernel is wrong here.")

const precisions = (["fp32", "fp16"] as const).filter((one) => (one === "fp32" ? !refusal : !noHalf))
const folder = mkdtempSync(join(tmpdir(), "limn-webgpu-"))
afterAll(() => rmSync(folder, { recursive: true }))

/** Operators that are written otherwise for WebGPU, and those that models of pictures and texts consist of. */
const operators = [
  ...(["matmul", "add", "groupNorm", "logSoftmax", "slice", "attention"] as const),
  ...(["conv2d", "layerNorm", "rmsNorm", "sigmoidGate", "gelu", "upsampleNearest", "gatherRows"] as const),
] satisfies Op[]

describe.skipIf(refusal !== undefined)("WebGPU", () => {
  describe.each(precisions)("in %s", (precision) => {
    // Each of a few roundings of a number of 24 or 11 bits, over the largest number.
    test.each(operators)("computes %s, and not on the CPU", async (op) => {
      const random = dice(1)
      const list = cases[op] as Exclude<(typeof cases)[Op], string>
      const prepared = list.map((one, number) => ({ one, ...feedsOf(one, number, random) }))
      const outputs = Object.fromEntries(
        prepared.map(({ one, inputs }, i) => [`${i} ${one.name}`, one.call(inputs)]),
      )
      const numbers = Object.assign({}, ...prepared.map(({ feeds }) => feeds))
      const expected = interpret(Object.values(outputs), numbers)
      const { results, onCpu } = await run(outputs, (name, shape) => float32(shape, numbers[name]), precision)
      Object.keys(outputs).forEach((name, i) => {
        expect(difference(results[name], expected[i]), name).toBeLessThan(precision === "fp32" ? 3e-6 : 5e-3)
      })
      expect(onCpu).toEqual([])
    })

    test.each(Object.keys(networks()))("runs %s as the CPU does, and not there", async (name) => {
      const { outputs, feeds } = networks()[name]
      const session = await openSession(toOnnx(build(outputs)), { device: "cpu", threads: 1 })
      const exact = await session.run(feeds)
      await session.close()
      const { results, onCpu } = await run(outputs, (input) => feeds[input], precision)
      for (const [output, tensor] of Object.entries(exact))
        expect(difference(results[output], toFloat32(tensor).data)).toBeLessThan(
          precision === "fp32" ? 1e-4 : 0.05,
        )
      expect(onCpu).toEqual([])
    })

    test("draws with Inkling what the CPU draws", async () => {
      const draw = async (options: Parameters<typeof load>[1]) => {
        const model = await load(join(import.meta.dirname, "../../models/inkling"), options)
        const { image } = await textToImage(model, { prompt: "a red apple", seed: 1, steps: 2 })
        await model.close()
        return [...image.pixels.data]
      }
      const exact = await draw({ device: "cpu", precision: "fp32" })
      const pixels = await draw({ device, precision })
      const apart = exact.map((value, i) => Math.abs(value - pixels[i]))
      // Out of 255; mean and most.
      expect(apart.reduce((sum, d) => sum + d, 0) / apart.length).toBeLessThan(precision === "fp32" ? 0.1 : 2)
      if (precision === "fp32") expect(Math.max(...apart)).toBeLessThanOrEqual(2)
    })
  })
})

/** Runs a graph that is written for WebGPU; also what of it ran on the CPU. */
async function run(
  outputs: Readonly<Record<string, Value>>,
  feed: (name: string, shape: number[]) => Tensor,
  precision: "fp32" | "fp16",
) {
  const graph = build(precision === "fp16" ? toHalfPrecision(outputs) : outputs)
  const model = toOnnx(graph, { device, fusedAttention })
  const profile = join(folder, "profile")
  const session = await openSession(model, { device, profile })
  const feeds = model.inputs.map(({ name, shape }) => [name, feed(name, shape as number[])] as const)
  const results = await session.run(Object.fromEntries(feeds))
  await session.close()
  const [file] = readdirSync(folder)
  const events: { args?: { provider?: string; op_name?: string } }[] = JSON.parse(
    readFileSync(join(folder, file), "utf8"),
  )
  rmSync(join(folder, file))
  const ran = events.flatMap(({ args }) => (args?.provider ? [args] : []))
  expect(ran.length).toBeGreaterThan(0)
  const onCpu = ran.filter(({ provider }) => provider === "CPUExecutionProvider").map((one) => one.op_name)
  return { results, onCpu: [...new Set(onCpu)] }
}

interface Described {
  readonly outputs: Record<string, Value>
  readonly feeds: Record<string, Tensor>
}

/** The parts of a tiny Stable Diffusion. */
function networks(): Record<string, Described> {
  const { family, parts } = tinyModel(1)
  const { unet: unetJson, vae, text_encoder: text } = family.configs
  const weights = (part: string) =>
    storedWeights(
      new Map(
        [...parts[part]].map(([name, tensor]) => [name, { ...tensor, storage: { kind: "memory", tensor } }]),
      ),
      part,
    )
  const random = cpuGenerator(3)
  const described = (
    tensors: Record<string, Tensor>,
    call: (inputs: Record<string, Value>) => Value,
  ): Described => {
    const inputs = Object.entries(tensors).map(([name, { dtype, shape }]) => [
      name,
      input(name, dtype, shape),
    ])
    return { feeds: tensors, outputs: { output: call(Object.fromEntries(inputs)) } }
  }
  const sample = random.randn([2, 4, 16, 16])
  const encoderHiddenStates = random.randn([2, 77, 64])
  return {
    "a U-Net": described({ sample, timestep: float32([2], [500, 20]), encoderHiddenStates }, (inputs) =>
      unet(inputs as never, weights("unet"), unetConfig(unetJson, "unet")),
    ),
    "a decoder": described({ z: random.randn([1, 4, 8, 8]) }, ({ z }) =>
      decodeLatents(z, weights("vae"), autoencoderConfig(vae, "vae")),
    ),
    "a text encoder": described(
      { ids: int64([1, 77], [49406, 320, 736, 4904, ...new Array(73).fill(49407)]) },
      ({ ids }) => clipText(ids, weights("text_encoder"), clipTextConfig(text, "text")).lastHiddenState,
    ),
  }
}

/** Largest difference over the largest number. */
function difference(actual: Tensor, expected: ArrayLike<number>): number {
  const { data } = toFloat32(actual)
  let [most, largest] = [0, 1e-3]
  for (let i = 0; i < data.length; i++) {
    largest = Math.max(largest, Math.abs(expected[i]))
    // Not Math.max, which NaN would pass through.
    if (!(Math.abs(data[i] - expected[i]) <= most)) most = Math.abs(data[i] - expected[i])
  }
  return most / largest
}

/** A sum of two numbers of a type. */
async function runTiny(dtype: "float32" | "float16"): Promise<void> {
  const x = input("x", "float32", [4])
  const session = await openSession(toOnnx(build({ y: add(cast(x, dtype), cast(x, dtype)) })), { device })
  await session.run({ x: float32([4], [1, 2, 3, 4]) })
  await session.close()
}

async function reasonOf(run: Promise<void>): Promise<string | undefined> {
  return run.then(
    () => undefined,
    (error: Error) => error.message,
  )
}
