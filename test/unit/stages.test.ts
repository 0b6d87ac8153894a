import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { LimnError } from "../../src/ground/errors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { withAdditions } from "../../src/pipelines/additions.ts"
import { chatGlmEncoder } from "../../src/pipelines/chatglm-encoder.ts"
import { load } from "../../src/pipelines/load.ts"
import { lora } from "../../src/pipelines/lora.ts"
import type { Model } from "../../src/pipelines/model.ts"
import type { Network } from "../../src/pipelines/network.ts"
import { openFolder } from "../../src/pipelines/open-folder.ts"
import { encodePrompt } from "../../src/pipelines/prompts.ts"
import { stagedNetwork } from "../../src/pipelines/stages.ts"
import { goldenFolder, relativeDifference } from "./golden.ts"

/** A stage that adds to `x` and gives it as `name`; keeps account of what is asked of it in `log`. */
function adding(amount: number, name: string, log: string[]): Network {
  const run: Network["run"] = async ({ x }) => {
    log.push(`${name} runs ${x.data[0]}`)
    if (Number(x.data[0]) < 0) throw new LimnError("Too little.")
    return { [name]: float32([1], [Number(x.data[0]) + amount]) }
  }
  return {
    run,
    async open() {
      log.push(`${name} opens`)
      return { reads: new Set(["x"]), run, release: () => log.push(`${name} closes`) }
    },
    isLoaded: () => false,
    with: (updates) => adding(amount + 10 * updates.length, name, log),
    rewritten: () => adding(amount + 100, name, log),
    async close() {
      log.push(`${name} ends`)
    },
  }
}

function twoStages(log: string[] = []): Network {
  return stagedNetwork([
    { takes: ({ x }) => ({ x }), network: adding(1, "x", log) },
    { takes: ({ x }) => ({ x }), network: adding(2, "y", log) },
  ])
}

const one = (value: number) => ({ x: float32([1], [value]) })

describe("stages", () => {
  test("are loaded ahead, and once for runs that were asked for together", async () => {
    const log: string[] = []
    const network = twoStages(log)
    const results = await Promise.all([0, 5, 8].map((value) => network.run(one(value))))
    expect(results).toEqual([3, 8, 11].map((value) => ({ y: float32([1], [value]) })))
    expect(log).toEqual([
      ...["x opens", "y opens", "x runs 0", "x runs 5", "x runs 8", "x closes"],
      ...["y runs 1", "y runs 6", "y runs 9", "y closes"],
    ])
  })

  test("take later runs after those that are under way", async () => {
    const log: string[] = []
    const network = twoStages(log)
    const first = network.run(one(0))
    await Promise.resolve()
    await Promise.resolve()
    const results = await Promise.all([first, network.run(one(1)), network.run(one(2))])
    expect(results.map(({ y }) => y.data[0])).toEqual([3, 4, 5])
    expect(log.filter((line) => line === "x opens")).toHaveLength(2)
  })

  test("give back what they loaded where one fails, and run again", async () => {
    const log: string[] = []
    const network = twoStages(log)
    await expect(network.run(one(-1))).rejects.toThrow("Too little.")
    expect(log).toEqual(["x opens", "y opens", "x runs -1", "x closes", "y closes"])
    expect(await network.run(one(1))).toEqual({ y: float32([1], [4]) })
  })

  test("hand updates on, and end with what they were", async () => {
    const log: string[] = []
    const network = twoStages(log)
    const updated = network.with([() => new Map()], {})
    expect(await updated.run(one(0))).toEqual({ y: float32([1], [23]) })
    const rewritten = network.rewritten((outputs) => outputs)
    expect(await rewritten.run(one(0))).toEqual({ y: float32([1], [203]) })
    const running = network.run(one(0))
    await network.close()
    expect(await running).toEqual({ y: float32([1], [3]) })
    expect(log.slice(-2)).toEqual(["x ends", "y ends"])
    await expect(network.run(one(0))).rejects.toThrow("The model is closed; load it again to use it.")
    expect(() => network.with([], {})).toThrow(LimnError)
  })
})

const folder = join(goldenFolder, "pipeline-kolors/model")
const running = { device: "cpu", precision: "fp32", threads: 1 } as const

/** The tiny Kolors with its three layers in blocks of so many bytes. */
async function kolors(blockBytes: number): Promise<Model> {
  const model = await load(folder, { device: "cpu", threads: 1 })
  const { texts } = await openFolder(folder)
  if (texts[0].kind !== "chatglm") throw new Error("The golden is no Kolors.")
  return { ...model, textEncoders: [await chatGlmEncoder(texts[0], running, { blockBytes })] }
}

function expectSame(a: Readonly<Record<string, Tensor>>, b: Readonly<Record<string, Tensor>>): void {
  for (const name of ["encoderHiddenStates", "textEmbeds"])
    expect(relativeDifference(a[name], b[name]), name).toBeLessThan(1e-6)
}

describe("ChatGLM in blocks", () => {
  const layerBytes = 4 * (48 * 24 + 48 + 24 * 32 + 64 * 24 + 24 * 32 + 2 * 24)

  test.each([
    ["each layer for itself", 1],
    ["two and one", 2 * layerBytes],
  ])("reads as in one: %s", async (_, blockBytes) => {
    const [whole, cut] = await Promise.all([kolors(2 ** 30), kolors(blockBytes)])
    const texts = ["a cat", "一只狗", ""]
    const [expected, found] = await Promise.all(
      [whole, cut].map((model) => Promise.all(texts.map((text) => encodePrompt(model, text)))),
    )
    for (const i of texts.keys()) expectSame(found[i], expected[i])
    await Promise.all([whole, cut].map((model) => model.close()))
  })

  test("reads as in one with a LoRA of one layer", async () => {
    const at = mkdtempSync(join(tmpdir(), "limn-stages-"))
    afterAll(() => rmSync(at, { recursive: true }))
    cpSync(folder, at, { recursive: true })
    const random = cpuGenerator(5)
    const layer = "base_model.model.encoder.layers.1.mlp.dense_h_to_4h"
    const tensors = {
      [`${layer}.lora_A.weight`]: random.randn([2, 24]),
      [`${layer}.lora_B.weight`]: random.randn([64, 2]),
    }
    const file = join(at, "lora.safetensors")
    writeFileSync(file, Buffer.concat(encodeSafetensors(tensors)))
    const models = await Promise.all([kolors(2 ** 30), kolors(1)])
    const adapted = await Promise.all(models.map((model) => withAdditions(model, [lora(file)])))
    const [plain] = await Promise.all(models.map((model) => encodePrompt(model, "a cat")))
    const [expected, found] = await Promise.all(adapted.map((model) => encodePrompt(model, "a cat")))
    expectSame(found, expected)
    expect(relativeDifference(found.textEmbeds, plain.textEmbeds)).toBeGreaterThan(0.01)
    await Promise.all([...models, ...adapted].map((model) => model.close()))
  })
})
