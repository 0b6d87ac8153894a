import { join } from "node:path"
import { expect, it } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { gradient } from "../../src/graph/gradient.ts"
import { inputWeights } from "../../src/graph/weights.ts"
import { cannyEdges } from "../../src/ground/canny.ts"
import { pixels } from "../../src/ground/image.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { controlNetConfig } from "../../src/models/config/controlnet.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { controlNetParameters } from "../../src/models/parameters/controlnet.ts"
import { initialize } from "../../src/models/parameters/initialize.ts"
import { openComponent } from "../../src/pipelines/component.ts"
import { openSession } from "../../src/runtime/session.ts"
import { controlling } from "../../src/training/objectives/controlling.ts"
import { goldenFolder } from "../unit/golden.ts"

const batchSize = 2
const [width, height] = [48, 40]
const drawn = cpuGenerator(4).randint(0, 2, [3, (width / 8) * (height / 8)]).data

/** Three pictures of blocks, so that they have edges. */
const images = {
  count: 3,
  width,
  height,
  captions: [["a"], ["b"], ["c"]],
  pixels: (n: number) =>
    Uint8Array.from({ length: 3 * width * height }, (_, i) => {
      const [x, y] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width)]
      return (
        255 * Number(drawn[(n * width * height) / 64 + Math.floor(y / 8) * (width / 8) + Math.floor(x / 8)])
      )
    }),
  close() {},
}

/** What a ControlNet learns beside the tiny model's denoiser. */
async function objective() {
  const component = await openComponent(join(goldenFolder, "pipeline/model/unet"))
  const unet = unetConfig(component.config, "unet")
  const net = await openComponent(join(goldenFolder, "controlnet/sd1"))
  const controlNet = controlNetConfig(net.config, "controlnet")
  const states = {
    shape: [5, 24] as const,
    of: async () => float32([batchSize, 5, 24], cpuGenerator(1).randn([batchSize, 5, 24]).data),
    close: async () => {},
  }
  const data = {
    latents: float32([3, 4, 5, 6], cpuGenerator(2).randn([3, 4, 5, 6]).data),
    captions: { length: 5, row: () => ({ ids: [], length: 0, dropped: "" }), draw: () => 1 },
    states,
    alphasCumprod: Float32Array.of(0.9, 0.5),
    prediction: "epsilon" as const,
  }
  const controlled = { frozen: component.tensors, unet, controlNet }
  const specs = controlNetParameters(controlNet)
  return { ...controlling(images, data, controlled, { batchSize, conditionDropout: 0.5 }), specs }
}

it("shows a ControlNet the edges of the pictures whose latents it is given", async () => {
  const { batch } = await objective()
  const { picture, clean } = await batch(cpuGenerator(3))
  expect(picture.shape).toEqual([batchSize, 3, height, width])
  const latents = cpuGenerator(2).randn([3, 4, 5, 6]).data
  for (let n = 0; n < batchSize; n++) {
    const chosen = [0, 1, 2].find((i) => Number(clean.data[n * 120]) === latents[i * 120])!
    const { data } = cannyEdges(pixels(width, height, 3, images.pixels(chosen)))
    const plane = width * height
    expect(data.some((v) => v === 255)).toBe(true)
    for (const c of [0, 1, 2])
      expect(Array.from(picture.data, Number).slice((3 * n + c) * plane, (3 * n + c + 1) * plane)).toEqual(
        Array.from({ length: plane }, (_, i) => data[3 * i + c] / 255),
      )
  }
})

it("teaches first the convolutions that began at zero, then what lies behind them, by what the denoiser says", async () => {
  const { loss, batch, specs } = await objective()
  const shapes = new Map(specs.map(({ name, shape }) => [name, shape]))
  const weights = inputWeights(shapes)
  const scalar = loss(weights)
  expect(weights.unread()).toEqual([])
  const weightOf = (name: string) => {
    const dot = name.lastIndexOf(".")
    return weights.at(name.slice(0, dot)).get(name.slice(dot + 1))
  }
  const names = specs.map(({ name }) => name)
  const slopes = gradient(scalar, names.map(weightOf))
  const outputs = Object.fromEntries(names.map((name, i) => [`d ${name}`, slopes[i]]))
  const session = await openSession(toOnnx(build({ loss: scalar, ...outputs })), {
    device: "cpu",
    threads: 1,
  })
  const feeds = await batch(cpuGenerator(3))
  const fresh = initialize(specs, cpuGenerator(5))
  const slopesAt = async (parameters: typeof fresh) => {
    const results = await session.run({ ...Object.fromEntries(parameters), ...feeds })
    const learning = names.filter((name) => results[`d ${name}`].data.some((v) => Number(v) !== 0))
    return { loss: Number(results.loss.data[0]), learning, results }
  }

  const zero = /^controlnet_(down_blocks|mid_block)/
  const start = await slopesAt(fresh)
  expect(start.learning.sort()).toEqual(names.filter((name) => zero.test(name)).sort())

  // Down the slope the loss falls as the slope says.
  const step = 1e-3
  const moved = new Map(fresh)
  let expected = 0
  for (const name of start.learning) {
    const { shape, data } = start.results[`d ${name}`]
    const slope = Array.from(data, Number)
    expected += step * slope.reduce((sum, v) => sum + v * v, 0)
    moved.set(
      name,
      float32(
        shape,
        slope.map((v) => -step * v),
      ),
    )
  }
  const next = await slopesAt(moved)
  expect(start.loss - next.loss).toBeGreaterThan(0.9 * expected)
  expect(start.loss - next.loss).toBeLessThan(1.1 * expected)
  // All but the embedding of the picture, whose last convolution is still zero.
  expect(names.filter((name) => !next.learning.includes(name))).toEqual(
    names.filter((name) => /^controlnet_cond_embedding\.(conv_in|blocks)/.test(name)),
  )
  await session.close()
})
