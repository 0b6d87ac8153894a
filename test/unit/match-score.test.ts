import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, test } from "vitest"
import { matchScores, openScorer, type Scorer } from "../../src/evaluation/match-score.ts"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import type { Value } from "../../src/graph/value.ts"
import { storedWeights } from "../../src/graph/weights.ts"
import { UsageError } from "../../src/ground/errors.ts"
import { pixels } from "../../src/ground/image.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, int64, toHalf } from "../../src/ground/tensor.ts"
import { clipText } from "../../src/models/clip-text.ts"
import { clipVision } from "../../src/models/clip-vision.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { clipVisionConfig } from "../../src/models/config/clip-vision.ts"
import { clipVisionParameters } from "../../src/models/parameters/clip-vision.ts"
import { initialize } from "../../src/models/parameters/initialize.ts"
import { openComponent } from "../../src/pipelines/component.ts"
import { openTokenizer } from "../../src/pipelines/tokenizer.ts"
import { openSession } from "../../src/runtime/session.ts"
import { saveComponent } from "../../src/training/run-files.ts"
import { dice } from "./dice.ts"
import { goldenFolder, relativeDifference } from "./golden.ts"

const width = 12 // of the embeddings
const size = 20
const visionJson = {
  hidden_size: 24,
  intermediate_size: 40,
  num_hidden_layers: 2,
  num_attention_heads: 3,
  image_size: size,
  patch_size: 5,
  projection_dim: width,
}
const vision = clipVisionConfig(visionJson, "scorer")
const textWidth = 24 // of the golden text encoder

const random = cpuGenerator(3)
// Larger than training begins with, so that no part of the tower is faint.
const parameters = new Map(
  [...initialize(clipVisionParameters(vision), random)].map(([name, t]) => [
    name,
    float32(
      t.shape,
      random.randn(t.shape).data.map((z, i) => t.data[i] + 0.2 * z),
    ),
  ]),
)
const projection = random.randn([width, textWidth])

let model: string
let scorer: Scorer

beforeAll(async () => {
  model = mkdtempSync(join(tmpdir(), "limn-scorer-"))
  for (const part of ["text_encoder", "tokenizer"])
    cpSync(join(goldenFolder, "pipeline/model", part), join(model, part), { recursive: true })
  const tensors = new Map<string, Tensor>([
    ...parameters,
    ["text_projection.weight", projection],
    ["logit_scale", toHalf(float32([], [2]), "float16")],
  ])
  await saveComponent(join(model, "scorer"), "model.safetensors", visionJson, tensors)
  scorer = await openScorer(model, { device: "cpu", threads: 1 })
})

afterAll(async () => {
  await scorer.close()
  rmSync(model, { recursive: true })
})

async function run(outputs: Record<string, Value>, feeds: Record<string, Tensor>) {
  const session = await openSession(toOnnx(build(outputs)), { device: "cpu", threads: 1 })
  const result = await session.run(feeds)
  await session.close()
  return result
}

function unit(row: readonly number[]): number[] {
  const length = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0))
  return row.map((value) => value / length)
}

const { below } = dice(9)
const pictures = Array.from({ length: 35 }, () =>
  pixels(
    size,
    size,
    3,
    Uint8Array.from({ length: size * size * 3 }, () => below(256)),
  ),
)

test("pictures climb their tower in batches as they would alone", async () => {
  const embeddings = await scorer.imageEmbeddings(pictures)
  expect(embeddings.shape).toEqual([35, width])
  const weights = new Map(
    [...parameters].map(([name, t]) => [name, { ...t, storage: { kind: "memory", tensor: t } as const }]),
  )
  for (const n of [0, 31, 32, 34]) {
    const data = new Float32Array(3 * size * size)
    for (let c = 0; c < 3; c++)
      for (let y = 0; y < size; y++)
        for (let x = 0; x < size; x++)
          data[(c * size + y) * size + x] = (2 * pictures[n].data[(y * size + x) * 3 + c]) / 255 - 1
    const { imageEmbeds } = clipVision(
      input("pixels", "float32", [1, 3, size, size]),
      storedWeights(weights, "test"),
      vision,
    )
    const { embeds } = await run({ embeds: imageEmbeds }, { pixels: float32([1, 3, size, size], data) })
    const expected = float32([width], unit(Array.from(embeds.data, Number)))
    const row = float32([width], embeddings.data.subarray(n * width, (n + 1) * width))
    expect(relativeDifference(row, expected), `picture ${n}`).toBeLessThan(1e-4)
  }
})

test("texts are pooled at their end and projected", async () => {
  const texts = ["a red heart", "蓝色的苹果", "", "three stars on a blue background, seen from far above"]
  const embeddings = await scorer.textEmbeddings(texts)
  expect(embeddings.shape).toEqual([texts.length, width])
  const component = await openComponent(join(model, "text_encoder"))
  const config = clipTextConfig(component.config, "text_encoder")
  const tokenizer = await openTokenizer(join(model, "tokenizer"))
  for (const [n, text] of texts.entries()) {
    const { ids, length } = tokenizer.tokenize(text)
    const { lastHiddenState } = clipText(
      input("ids", "int64", [1, ids.length]),
      storedWeights(component.tensors, "test"),
      config,
    )
    const { state } = await run({ state: lastHiddenState }, { ids: int64([1, ids.length], ids) })
    const end = Array.from(state.data.slice((length - 1) * textWidth, length * textWidth), Number)
    const projected = Array.from({ length: width }, (_, p) =>
      end.reduce((sum, value, k) => sum + value * projection.data[p * textWidth + k], 0),
    )
    const row = float32([width], embeddings.data.subarray(n * width, (n + 1) * width))
    expect(relativeDifference(row, float32([width], unit(projected))), text).toBeLessThan(1e-4)
  }
})

test("the scale is the exponential of what the file holds", () => {
  expect(scorer.scale).toBeCloseTo(Math.exp(2), 4)
})

test("a match score is a cosine", async () => {
  const images = await scorer.imageEmbeddings(pictures.slice(0, 3))
  const texts = await scorer.textEmbeddings(["one", "two", "three"])
  const scores = matchScores(images, texts)
  for (let n = 0; n < 3; n++) {
    let dot = 0
    for (let k = 0; k < width; k++) dot += images.data[n * width + k] * texts.data[n * width + k]
    expect(scores[n]).toBeCloseTo(dot, 5)
    expect(Math.abs(scores[n])).toBeLessThan(1)
  }
  expect(Array.from(matchScores(images, images))).toEqual([1, 1, 1].map((one) => expect.closeTo(one, 5)))
})

test("no pictures give no rows", async () => {
  expect((await scorer.imageEmbeddings([])).shape).toEqual([0, width])
  expect((await scorer.textEmbeddings([])).shape).toEqual([0, width])
})

test("pictures of another size or with transparency are refused", async () => {
  const small = pixels(8, 8, 3, new Uint8Array(8 * 8 * 3))
  await expect(scorer.imageEmbeddings([small])).rejects.toThrow(UsageError)
  await expect(scorer.imageEmbeddings([small])).rejects.toThrow("20x20 pixels, not 8x8x3")
  const clear = pixels(size, size, 4, new Uint8Array(size * size * 4))
  await expect(scorer.imageEmbeddings([clear])).rejects.toThrow("opaque")
})

test("a scorer without its projection is refused by name", async () => {
  const broken = mkdtempSync(join(tmpdir(), "limn-scorer-"))
  cpSync(model, broken, { recursive: true })
  await saveComponent(join(broken, "scorer"), "model.safetensors", visionJson, parameters)
  await expect(openScorer(broken, { device: "cpu" })).rejects.toThrow("text_projection.weight")
  rmSync(broken, { recursive: true })
})
