import { spawn } from "node:child_process"
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest"
import { memorySource } from "../../src/formats/byte-source.ts"
import { encodeSafetensors, readSafetensorsHeader, readTensor } from "../../src/formats/safetensors.ts"
import { FormatError } from "../../src/ground/errors.ts"
import { pixels } from "../../src/ground/image.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { tensor } from "../../src/ground/tensor.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { unetParameters } from "../../src/models/parameters/unet.ts"
import { componentWeights, openComponent } from "../../src/pipelines/component.ts"
import { controlNet } from "../../src/pipelines/controlnet.ts"
import { load } from "../../src/pipelines/load.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { type TrainOptions, train } from "../../src/training/train.ts"
import { DivergenceError } from "../../src/training/trainer.ts"
import { relativeDifference } from "../unit/golden.ts"

/** A whole Stable Diffusion folder, tiny and of random weights. */
const tiny = join(import.meta.dirname, "../golden/pipeline/model")
const colours = { red: [220, 40, 30], green: [40, 160, 60], blue: [30, 60, 200], white: [250, 250, 250] }
const count = 24
const size = 32

const root = mkdtempSync(join(tmpdir(), "limn-training-"))
afterAll(() => rmSync(root, { recursive: true }))
const model = join(root, "model")
const data = join(root, "data")
let folder: string
let folders = 0

beforeAll(() => {
  cpSync(tiny, model, { recursive: true })
  mkdirSync(join(model, "scorer"))
  const scorer = {
    hidden_size: 16,
    intermediate_size: 32,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    image_size: size,
    patch_size: 8,
    hidden_act: "quick_gelu",
    projection_dim: 8,
  }
  writeFileSync(join(model, "scorer", "config.json"), JSON.stringify(scorer))
  writeDataset()
})

beforeEach(() => {
  folder = join(root, `run ${folders++}`)
  mkdirSync(folder)
})

/** Discs of four colours on grounds of another, each with captions in two languages. */
function writeDataset(): void {
  const random = cpuGenerator(11)
  const names = Object.keys(colours) as (keyof typeof colours)[]
  const pixels = new Uint8Array(count * size * size * 3)
  const lines: string[] = []
  for (let n = 0; n < count; n++) {
    const [disc, ground] = [names[n % 4], names[(n + 1 + (n >> 2)) % 4]]
    const [cx, cy] = Array.from(random.randint(10, size - 10, [2]).data, Number)
    for (let y = 0; y < size; y++)
      for (let x = 0; x < size; x++) {
        const inside = (x - cx) ** 2 + (y - cy) ** 2 < 64
        pixels.set(colours[inside ? disc : ground], ((n * size + y) * size + x) * 3)
      }
    lines.push(JSON.stringify({ captions: [`a ${disc} disc`, `${disc} on ${ground}`] }))
  }
  mkdirSync(data, { recursive: true })
  const images = encodeSafetensors({ pixels: tensor("uint8", [count, size, size, 3], pixels) })
  writeFileSync(join(data, "images.safetensors"), Buffer.concat(images))
  writeFileSync(join(data, "captions.jsonl"), `${lines.join("\n")}\n`)
}

/** Writes a run's file into its folder, which also takes what the run makes. */
function configured(changed: object, name = "run"): string {
  const config = {
    learn: "denoiser",
    model,
    data,
    output: name,
    start: "scratch",
    seed: 1,
    steps: 20,
    batchSize: 4,
    learningRate: 3e-3,
    threads: 2,
    saveMinutes: 60,
    ...changed,
  }
  const path = join(folder, `${name}.json`)
  writeFileSync(path, JSON.stringify(config))
  return path
}

async function losses(path: string, options: TrainOptions = {}): Promise<number[]> {
  const seen: number[] = []
  await train(path, { ...options, onStep: ({ loss }) => seen.push(loss) })
  return seen
}

/** Stops at a step. */
function stopAt(last: number): TrainOptions {
  const stop = new AbortController()
  return { signal: stop.signal, onStep: ({ step }) => step === last && stop.abort() }
}

const bytesOf = (...path: string[]) => readFileSync(join(folder, ...path))

function stateOf(name = "run") {
  return readSafetensorsHeader(memorySource("state", bytesOf(name, "state.safetensors")))
}

const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length

describe("learning", () => {
  test.each([
    ["autoencoder", { learningRate: 1e-2 }, 0.95],
    ["towers", { learningRate: 3e-3, batchSize: 8 }, 0.95],
    ["denoiser", { learningRate: 1e-2, batchSize: 8 }, 0.95],
    ["controlnet", { learningRate: 1e-2, batchSize: 8 }, 0.95],
  ])("makes the loss of the %s fall in 30 steps", async (learn, changed, share) => {
    const seen = await losses(configured({ learn, steps: 30, ...changed }))
    expect(seen).toHaveLength(30)
    expect(mean(seen.slice(-5)) / mean(seen.slice(0, 5))).toBeLessThan(share)
  })

  test("keeps what was learnt as a checkpoint's parts, which load again", async () => {
    await train(configured({ steps: 2 }))
    const unet = await openComponent(join(folder, "run", "unet"))
    expect([...unet.tensors.values()].every(({ dtype }) => dtype === "float16")).toBe(true)
    componentWeights(unet, unetParameters(unetConfig(unet.config, unet.path)))
    expect(readdirSync(join(folder, "run"))).toEqual([
      "latents.safetensors",
      "loss.csv",
      "loss.svg",
      "state.safetensors",
      "unet",
    ])
  })

  test("begins a ControlNet at the denoiser, which it changes once it has learnt, and goes on from it", async () => {
    const learn = { learn: "controlnet", batchSize: 8 }
    const still = { steps: 1, learningRate: 1e-12, weightDecay: 0 }
    await train(configured({ ...learn, ...still }, "still"))
    await train(configured({ ...learn, steps: 5 }, "learnt"))
    const edges = pixels(
      16,
      16,
      3,
      new Uint8Array(16 * 16 * 3).map((_, i) => (i % 9 === 0 ? 255 : 0)),
    )
    const drawn = async (folders: readonly string[]) => {
      const plain = await load(model, { device: "cpu", threads: 1 })
      const steered = await plain.with(...folders.map((one) => controlNet(join(folder, one, "controlnet"))))
      const controls = folders.map(() => ({ image: edges }))
      const options = { prompt: "a red disc", steps: 2, seed: 7, width: 16, height: 16, controls }
      const { latents } = await textToImage(steered, options)
      await plain.close()
      await steered.close()
      return latents
    }
    const plain = await drawn([])
    expect(relativeDifference(await drawn(["still"]), plain)).toBeLessThan(1e-6)
    expect(relativeDifference(await drawn(["learnt"]), plain)).toBeGreaterThan(1e-2)

    const further = join(folder, "further")
    cpSync(model, further, { recursive: true })
    cpSync(join(folder, "learnt/controlnet"), join(further, "controlnet"), { recursive: true })
    await train(configured({ ...learn, ...still, model: further, start: "weights" }, "same"))
    const file = "controlnet/diffusion_pytorch_model.safetensors"
    expect(bytesOf("same", file).equals(bytesOf("learnt", file))).toBe(true)
  })

  test("tells the diffusion model how far an autoencoder's latents spread", async () => {
    await train(configured({ learn: "autoencoder", steps: 2 }))
    const { scaling_factor } = JSON.parse(String(bytesOf("run", "vae", "config.json")))
    expect(scaling_factor).toBeGreaterThan(0)
    expect(scaling_factor).not.toBe(0.18215)
  })

  test("goes on from a model's own weights", async () => {
    await train(
      configured({ steps: 1, learningRate: 1e-9, warmupSteps: 0, start: "weights", weightDecay: 0 }),
    )
    const file = (path: string) => readSafetensorsHeader(memorySource(path, readFileSync(path)))
    const before = file(join(model, "unet", "diffusion_pytorch_model.safetensors"))
    const after = stateOf()
    for (const name of before.tensors.keys()) {
      const [was, is] = [readTensor(before, name), readTensor(after, `parameters/${name}`)]
      expect(is.shape).toEqual(was.shape)
      for (const [i, value] of (is.data as Float32Array).entries())
        expect(Math.abs(value - Number(was.data[i]))).toBeLessThan(1e-6)
    }
  })
})

describe("a stopped run", () => {
  test.each([
    ["denoiser", { accumulation: 2 }],
    ["autoencoder", {}],
    ["towers", {}],
    ["controlnet", {}],
  ])("goes on as if it had not stopped: %s", async (learn, changed) => {
    const straight = configured({ learn, schedule: "cosine", warmupSteps: 3, ...changed }, "straight")
    const parted = configured({ learn, schedule: "cosine", warmupSteps: 3, ...changed }, "parted")
    expect(await train(straight)).toMatchObject({ step: 20, resumedAt: 0, stopped: false })
    expect(await train(parted, stopAt(10))).toMatchObject({
      step: 10,
      steps: 20,
      resumedAt: 0,
      stopped: true,
    })
    expect(await train(parted)).toMatchObject({ step: 20, resumedAt: 10, stopped: false })
    expect(bytesOf("parted", "state.safetensors").equals(bytesOf("straight", "state.safetensors"))).toBe(true)
    const columns = (name: string) =>
      String(bytesOf(name, "loss.csv"))
        .trimEnd()
        .split("\n")
        .map((line) => line.split(",").slice(0, 4))
    expect(columns("parted")).toEqual(columns("straight"))
    expect(columns("parted")).toHaveLength(21)
  })

  test("that was stopped at its last step is done", async () => {
    const path = configured({ steps: 2 })
    expect(await train(path, stopAt(2))).toMatchObject({ step: 2, stopped: false })
    expect(await train(path, stopAt(1))).toMatchObject({ step: 2, resumedAt: 2, stopped: false })
  })

  test("that was stopped before its first step has made no state", async () => {
    expect(await train(configured({}), { signal: AbortSignal.abort() })).toMatchObject({
      step: 0,
      stopped: true,
    })
    expect(readdirSync(join(folder, "run"))).toEqual(["latents.safetensors"])
  })

  test("says so when its model has become another", async () => {
    const path = configured({ steps: 2 })
    await train(path)
    const other = join(folder, "other")
    cpSync(model, other, { recursive: true })
    const config = join(other, "unet", "config.json")
    const json = JSON.parse(readFileSync(config, "utf8"))
    writeFileSync(config, JSON.stringify({ ...json, block_out_channels: [8, 16, 24] }))
    const changed = train(configured({ steps: 4, model: other }))
    await expect(changed).rejects.toThrow(FormatError)
    await expect(changed).rejects.toThrow(/state\.safetensors is the state of another model, with F32\[/)
    await expect(train(configured({ learn: "autoencoder" }))).rejects.toThrow("choose another output folder")
  })
})

describe("a run that fails", () => {
  test("keeps the steps before, where a picture cannot be read", async () => {
    const straight = configured({ learn: "autoencoder", steps: 5 }, "straight")
    await train(straight)
    const path = configured({ learn: "autoencoder", steps: 5 })
    const images = join(data, "images.safetensors")
    const failing = train(path, { onStep: ({ step }) => step === 3 && truncateSync(images, 1000) })
    await expect(failing).rejects.toThrow(/images\.safetensors ends before byte/)
    writeDataset()
    expect(await train(path)).toMatchObject({ resumedAt: 3, step: 5 })
    expect(bytesOf("run", "state.safetensors").equals(bytesOf("straight", "state.safetensors"))).toBe(true)
  })

  test("keeps them too where whoever follows it fails", async () => {
    const path = configured({ steps: 5 })
    const follow = () => {
      throw new Error("The screen is full.")
    }
    await expect(train(path, { onStep: follow })).rejects.toThrow("The screen is full.")
    expect(await train(path)).toMatchObject({ resumedAt: 1, step: 5 })
  })

  test("keeps nothing of what led to numbers that are none", async () => {
    const path = configured({ steps: 50, learningRate: 1e30 })
    await expect(train(path)).rejects.toThrow(DivergenceError)
    expect(readdirSync(join(folder, "run"))).toEqual(["latents.safetensors"])
  })
})

describe("a run that is killed", () => {
  const script = fileURLToPath(new URL("./processes/training-run.ts", import.meta.url))

  /** Starts a run in a process of its own and kills it `delayMs` after its step `step`; gives the last step it told of. */
  function runUntilKilled(
    config: string,
    step: number,
    delayMs: number,
  ): Promise<{ told: number; done: boolean }> {
    const child = spawn(process.execPath, ["--import", "tsx", "--conditions=source", script, config])
    let output = ""
    let errors = ""
    const told = () => Number([...output.matchAll(/^step (\d+)$/gm)].at(-1)?.[1] ?? 0)
    let doomed = false
    child.stderr.on("data", (text) => (errors += text))
    child.stdout.on("data", (text) => {
      output += text
      if (doomed || told() < step) return
      doomed = true
      setTimeout(() => child.kill("SIGKILL"), delayMs)
    })
    return new Promise((resolve, reject) => {
      child.on("close", (code, signal) => {
        if (signal === "SIGKILL" || code === 0) resolve({ told: told(), done: output.includes("done") })
        else reject(new Error(`The run ended with ${code}: ${errors}`))
      })
    })
  }

  test("at any moment loses only the step under way, and ends with the same bits", async () => {
    const changed = { steps: 30, accumulation: 2, saveMinutes: 1e-9 }
    await train(configured({ ...changed, saveMinutes: 60 }, "straight"))
    const path = configured(changed)
    const random = cpuGenerator(21)
    let done = false
    for (let round = 0; !done && round < 6; round++) {
      const [early, delayMs] = Array.from(random.randint(0, 60, [2]).data, Number)
      const from = round === 0 ? 0 : Number(stateOf().metadata.step)
      const run = await runUntilKilled(path, from + 1 + (early % 6), delayMs)
      done = run.done
      // Whole, and at most behind by the step that was told of and not yet saved.
      const step = Number(stateOf().metadata.step)
      expect(step).toBeGreaterThanOrEqual(run.told - 1)
      expect(step).toBeLessThanOrEqual(run.told + 1)
    }
    if (!done) await train(path)
    expect(bytesOf("run", "state.safetensors").equals(bytesOf("straight", "state.safetensors"))).toBe(true)
    const weights = ["unet", "diffusion_pytorch_model.safetensors"]
    expect(bytesOf("run", ...weights).equals(bytesOf("straight", ...weights))).toBe(true)
  })
})
