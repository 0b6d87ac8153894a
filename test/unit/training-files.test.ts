import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import sharp from "sharp"
import { afterAll, describe, expect, test } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { float32, type Tensor, tensor } from "../../src/ground/tensor.ts"
import type { Parameters } from "../../src/training/adamw.ts"
import { tokenizeCaptions } from "../../src/training/caption-ids.ts"
import { trainingConfig } from "../../src/training/config.ts"
import { imageBatch, openDataset } from "../../src/training/dataset.ts"
import { type LossRow, lossChart } from "../../src/training/loss-chart.ts"
import { resumeRun, saveComponent, saveRun } from "../../src/training/run-files.ts"
import { trainerState } from "../../src/training/trainer.ts"

const root = mkdtempSync(join(tmpdir(), "limn-training-"))
afterAll(() => rmSync(root, { recursive: true }))

let folders = 0
function newFolder(): string {
  const folder = join(root, String(folders++))
  mkdirSync(folder)
  return folder
}

function write(path: string, tensors: Record<string, Tensor>, metadata = {}): void {
  writeFileSync(path, Buffer.concat(encodeSafetensors(tensors, metadata)))
}

describe("dataset", () => {
  const pixels = tensor(
    "uint8",
    [2, 2, 3, 3],
    Uint8Array.from({ length: 36 }, (_, i) => 7 * i),
  )
  const good = ['{"captions": ["a"]}', '{"captions": ["b", "乙"], "kind": "plain"}']

  function dataset(lines: readonly string[], tensors: Record<string, Tensor> = { pixels }): string {
    const folder = newFolder()
    write(join(folder, "images.safetensors"), tensors)
    writeFileSync(join(folder, "captions.jsonl"), lines.map((line) => `${line}\n`).join(""))
    return folder
  }

  test("gives pictures and their captions", async () => {
    const images = await openDataset(dataset(good))
    expect(images).toMatchObject({ count: 2, width: 3, height: 2, captions: [["a"], ["b", "乙"]] })
    expect(images.pixels(1)).toEqual(pixels.data.slice(18))
    const batch = imageBatch(images, [1, 0])
    expect(batch).toHaveLength(36)
    // Channel c of pixel p of picture n, from bytes to [-1, 1].
    for (const [n, i] of [1, 0].entries())
      for (let c = 0; c < 3; c++)
        for (let p = 0; p < 6; p++)
          expect(batch[(n * 3 + c) * 6 + p]).toBeCloseTo(pixels.data[18 * i + 3 * p + c] / 127.5 - 1, 6)
    images.close()
  })

  test.each([
    [
      "pixels of another type",
      dataset(good, { pixels: float32([2, 2, 3, 3], new Float32Array(36)) }),
      /images\.safetensors holds pixels as float32\[2, 2, 3, 3\]; limn needs uint8\[count, height, width, 3\]\.$/,
    ],
    [
      "pixels without colours",
      dataset(good, { pixels: tensor("uint8", [2, 2, 3], new Uint8Array(12)) }),
      /holds pixels as uint8\[2, 2, 3\]; limn needs/,
    ],
    ["no pixels", dataset(good, { pictures: pixels }), /has no tensor "pixels"\.$/],
    [
      "a missing line",
      dataset(good.slice(1)),
      /captions\.jsonl has 1 lines for 2 pictures; make both again\.$/,
    ],
    ["a line too many", dataset([...good, ...good]), /has 4 lines for 2 pictures; make both again\.$/],
    [
      "a broken line",
      dataset([good[0], '{"captions": ["b"']),
      /captions\.jsonl line 2 is not JSON; make it again\.$/,
    ],
    [
      "a line without captions",
      dataset(["{}", good[1]]),
      /line 1 needs "captions", a list of at least one text\.$/,
    ],
    ["a line of nothing", dataset(["null", good[1]]), /line 1 needs "captions"/],
    ["an empty list", dataset([good[0], '{"captions": []}']), /line 2 needs "captions"/],
    ["a number among captions", dataset([good[0], '{"captions": ["b", 3]}']), /line 2 needs "captions"/],
  ])("refuses %s", async (_, folder, message) => {
    await expect(openDataset(folder)).rejects.toThrow(FormatError)
    await expect(openDataset(folder)).rejects.toThrow(message)
  })

  test("names a missing file", async () => {
    const folder = newFolder()
    await expect(openDataset(folder)).rejects.toThrow(LimnError)
    await expect(openDataset(folder)).rejects.toThrow("images.safetensors")
    write(join(folder, "images.safetensors"), { pixels })
    await expect(openDataset(folder)).rejects.toThrow("captions.jsonl")
  })
})

describe("captions", () => {
  const texts = [["a", "b"], ["b"], ["c", "", "a"]]
  const images = {
    count: 3,
    width: 1,
    height: 1,
    captions: texts,
    pixels: () => new Uint8Array(3),
    close() {},
  }
  const asked: string[] = []
  const tokenizer = {
    maxLength: 2,
    tokenize(text: string) {
      asked.push(text)
      return { ids: [text.length, text.charCodeAt(0) || 0], length: 1, dropped: "" }
    },
    vocabSize: 0,
    encode: () => [],
    decode: () => "",
  }
  const captions = tokenizeCaptions(images, tokenizer)

  test("are tokenized once each, the empty one first", () => {
    expect(asked).toEqual(["", "a", "b", "c"])
    expect(captions.row(0).ids).toEqual([0, 0])
    expect(captions.row(3).ids).toEqual([1, "c".charCodeAt(0)])
  })

  test("are drawn evenly among a picture's own", () => {
    const random = cpuGenerator(5)
    const counts = new Map<number, number>()
    for (let k = 0; k < 3000; k++) {
      const drawn = captions.draw(2, random)
      counts.set(drawn, (counts.get(drawn) ?? 0) + 1)
    }
    expect([...counts.keys()].sort()).toEqual([0, 1, 3])
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(100)
  })
})

describe("configuration", () => {
  const least = {
    learn: "denoiser",
    model: "m",
    data: "d",
    output: "o",
    steps: 5,
    batchSize: 2,
    learningRate: 1e-3,
  }

  test("has defaults", () => {
    expect(trainingConfig(least, "run.json")).toEqual({
      ...least,
      start: "weights",
      seed: 0,
      accumulation: 1,
      schedule: "constant",
      warmupSteps: 0,
      weightDecay: 0.01,
      beta1: 0.9,
      beta2: 0.999,
      clipNorm: 1,
      emaDecay: 0.999,
      saveMinutes: 5,
      conditionDropout: 0.1,
      timestepShift: 1,
    })
  })

  test.each<[unknown, string]>([
    [{ ...least, colour: 1 }, 'run.json: "colour" is no key of such a run; take it out.'],
    [{ ...least, klWeight: 1 }, 'run.json: "klWeight" is no key of such a run; take it out.'],
    [{ ...least, steps: undefined }, 'run.json has no "steps"; a training run needs it.'],
    [{}, 'run.json has no "learn"; a training run needs it.'],
    [
      { ...least, learn: "poetry" },
      'run.json: "learn" is "poetry"; limn learns "autoencoder", "towers", "denoiser" or "controlnet".',
    ],
    [{ ...least, batchSize: 1.5 }, 'run.json: "batchSize" is 1.5; limn needs a positive integer.'],
    [{ ...least, learningRate: 0 }, 'run.json: "learningRate" is 0; limn needs a positive number.'],
    [{ ...least, emaDecay: 1.1 }, 'run.json: "emaDecay" is 1.1; limn needs a number from 0 to 1.'],
    [{ ...least, weightDecay: "0" }, 'run.json: "weightDecay" is "0"; limn needs 0 or a positive number.'],
    [{ ...least, model: 7 }, 'run.json: "model" is 7; limn needs a text.'],
    [
      { ...least, schedule: "fast" },
      'run.json: "schedule" is "fast"; limn supports "constant" or "linear" or "cosine".',
    ],
    [[least], "run.json is not a JSON object; limn reads the description of a training run there."],
  ])("says what is wrong in one sentence: %j", (json, message) => {
    expect(() => trainingConfig(json, "run.json")).toThrow(UsageError)
    expect(() => trainingConfig(json, "run.json")).toThrow(new UsageError(message))
  })

  test("of Inkling's own runs is right", () => {
    const folder = join(import.meta.dirname, "../../inkling/recipe")
    for (const file of readdirSync(folder))
      expect(trainingConfig(JSON.parse(readFileSync(join(folder, file), "utf8")), file).learn).toBeTruthy()
  })
})

describe("loss chart", () => {
  const row = (step: number, loss: number): LossRow => ({
    step,
    loss,
    learningRate: 1e-3,
    gradientNorm: 1,
    seconds: step,
  })

  test.each<[string, LossRow[]]>([
    ["no step yet", []],
    ["one step", [row(1, 0.5)]],
    ["losses that do not move", Array.from({ length: 10 }, (_, i) => row(i + 1, 0.25))],
    [
      "a long run",
      Array.from({ length: 5000 }, (_, i) => row(i + 1, Math.exp(-i / 1000) + 0.1 * Math.sin(i) ** 2)),
    ],
    [
      "a first step far above the rest",
      [row(1, 1e6), ...Array.from({ length: 300 }, (_, i) => row(i + 2, 1 / (i + 2)))],
    ],
    ["losses that a logarithm cannot show", [row(1, 0.5), row(2, 0), row(3, -1), row(4, 0.2)]],
  ])("is a picture: %s", async (_, rows) => {
    const svg = lossChart(rows)
    expect(svg).not.toMatch(/NaN|Infinity|undefined/)
    // A renderer reads it, strictly, and finds more than white.
    const { info, data } = await sharp(Buffer.from(svg)).raw().toBuffer({ resolveWithObject: true })
    expect(info).toMatchObject({ width: 720, height: 360 })
    expect(data.some((byte) => byte < 128)).toBe(true)
    for (const [, points] of svg.matchAll(/points="([^"]*)"/g))
      for (const point of points.split(" ").filter((text) => text !== "")) {
        const [x, y] = point.split(",").map(Number)
        expect(x >= 64 && x <= 704 && y >= 24 && y <= 320, point).toBe(true)
      }
  })
})

describe("a run's files", () => {
  const shapes = { "a.weight": [2, 3], "a.bias": [2], scale: [] }
  const parameters = (seed: number, of: Record<string, number[]> = shapes): Parameters => {
    const random = cpuGenerator(seed)
    return new Map(Object.entries(of).map(([name, shape]) => [name, random.randn(shape)]))
  }
  const loss = (step: number): LossRow => ({
    step,
    loss: 1 / 3 / step,
    learningRate: 1e-3 / 7,
    gradientNorm: Math.PI * step,
    seconds: 1.5 * step,
  })

  /** A state in the middle of a run, all of its numbers different. */
  function running() {
    const state = trainerState(parameters(1), cpuGenerator(9))
    state.random.randn([7])
    for (const part of [state.average, state.optimizer.first, state.optimizer.second])
      for (const { data } of part.values())
        data.set(cpuGenerator(data.length + part.size).randn([data.length]).data)
    state.optimizer.step = 3
    return state
  }

  const fresh = (of?: Record<string, number[]>) => trainerState(parameters(2, of), cpuGenerator(4))

  test("bring back every bit of its state, the dice included", async () => {
    const folder = newFolder()
    const state = running()
    await saveRun(folder, state, [1, 2, 3].map(loss))
    const resumed = await resumeRun(folder, fresh())
    expect(resumed!.losses).toEqual([1, 2, 3].map(loss))
    for (const part of ["parameters", "average"] as const) expect(resumed!.state[part]).toEqual(state[part])
    expect(resumed!.state.optimizer).toEqual(state.optimizer)
    expect(resumed!.state.random.randn([50])).toEqual(state.random.randn([50]))
  })

  test("leave out losses of steps that the state has not: the run was killed between the two", async () => {
    const folder = newFolder()
    await saveRun(folder, running(), [1, 2, 3].map(loss))
    const state = readFileSync(join(folder, "state.safetensors"))
    await saveRun(folder, running(), [1, 2, 3, 4, 5].map(loss))
    writeFileSync(join(folder, "state.safetensors"), state)
    expect((await resumeRun(folder, fresh()))!.losses).toEqual([1, 2, 3].map(loss))
  })

  test("go on without a log", async () => {
    const folder = newFolder()
    await saveRun(folder, running(), [loss(1)])
    rmSync(join(folder, "loss.csv"))
    expect((await resumeRun(folder, fresh()))!.losses).toEqual([])
  })

  test("are not there before the first save", async () => {
    expect(await resumeRun(newFolder(), fresh())).toBeUndefined()
  })

  test.each<[string, Record<string, number[]>, string]>([
    [
      "another shape",
      { ...shapes, "a.bias": [3] },
      'with F32[2] for "parameters/a.bias" of float32[3]; choose another output folder.',
    ],
    [
      "another name",
      { "a.weight": [2, 3], "b.bias": [2], scale: [] },
      'with nothing for "parameters/b.bias" of float32[2]; choose another output folder.',
    ],
    [
      "fewer tensors",
      { "a.weight": [2, 3], scale: [] },
      "with 12 tensors for 8; choose another output folder.",
    ],
  ])("refuse a model of %s", async (_, of, message) => {
    const folder = newFolder()
    await saveRun(folder, running(), [])
    await expect(resumeRun(folder, fresh(of))).rejects.toThrow(FormatError)
    await expect(resumeRun(folder, fresh(of))).rejects.toThrow(
      `${join(folder, "state.safetensors")} is the state of another model, ${message}`,
    )
  })

  test("refuse a state that does not say how far it is", async () => {
    const folder = newFolder()
    const { parameters: p, average, optimizer } = running()
    const all = { parameters: p, average, first: optimizer.first, second: optimizer.second }
    const tensors = Object.entries(all).flatMap(([part, map]) =>
      [...map].map(([name, t]) => [`${part}/${name}`, t]),
    )
    for (const metadata of [{}, { step: "3" }, { step: "x", random: "{}" }, { step: "3", random: "{" }]) {
      write(join(folder, "state.safetensors"), Object.fromEntries(tensors), metadata)
      await expect(resumeRun(folder, fresh())).rejects.toThrow("does not say how far its run was")
    }
  })

  test("hold a part of a model as checkpoints do", async () => {
    const folder = join(newFolder(), "unet")
    await saveComponent(folder, "model.safetensors", { _class_name: "X" }, parameters(3))
    expect(readdirSync(folder)).toEqual(["config.json", "model.safetensors"])
    expect(JSON.parse(readFileSync(join(folder, "config.json"), "utf8"))).toEqual({ _class_name: "X" })
  })
})
