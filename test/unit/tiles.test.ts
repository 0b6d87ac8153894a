import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { decodeLatents, encodeMoments } from "../../src/models/autoencoder-kl.ts"
import { autoencoderConfig } from "../../src/models/config/autoencoder.ts"
import { renameAutoencoderKey } from "../../src/models/names.ts"
import { autoencoderParameters } from "../../src/models/parameters/autoencoder.ts"
import { componentWeights, openComponent } from "../../src/pipelines/component.ts"
import { network } from "../../src/pipelines/network.ts"
import { inTiles } from "../../src/pipelines/tiles.ts"
import { dice } from "./dice.ts"
import { goldenFolder, goldenTensors, relativeDifference } from "./golden.ts"

type Picture = Tensor<"float32">

/** Both halves of the autoencoder in a folder. */
async function openAutoencoder(folder: string) {
  const component = await openComponent(folder, { rename: renameAutoencoderKey })
  const config = autoencoderConfig(component.config, component.path)
  const weights = componentWeights(component, autoencoderParameters(config))
  const running = { device: "cpu", precision: "fp32", threads: 1 } as const
  const decoder = network(({ z }) => ({ image: decodeLatents(z, weights(), config) }), running)
  const encoder = network(({ x }) => ({ moments: encodeMoments(x, weights(), config) }), running)
  return {
    decode: async (z: Picture) => (await decoder.run({ z })).image as Picture,
    encode: async (x: Picture) => (await encoder.run({ x })).moments as Picture,
    close: () => Promise.all([decoder.close(), encoder.close()]),
  }
}

describe("an autoencoder in tiles", () => {
  let inkling: Awaited<ReturnType<typeof openAutoencoder>>
  beforeAll(async () => {
    inkling = await openAutoencoder(join(import.meta.dirname, "../../models/inkling/vae"))
  })
  afterAll(() => inkling.close())

  test("gives what diffusers gives", async () => {
    const { decode, encode, close } = await openAutoencoder(join(goldenFolder, "vae/old-attention-names"))
    const golden = goldenTensors("vae-tiled.safetensors") as Record<string, Picture>
    const decoded = await inTiles(golden.latents, 4, decode)
    const moments = await inTiles(golden.image, 32, encode)
    await close()
    expect(relativeDifference(decoded, golden.decoded)).toBeLessThan(1e-4)
    expect(relativeDifference(moments, golden.moments)).toBeLessThan(1e-4)
  })

  const stride = 12 // latents from one tile of 16 to the next

  test("shows no seam where latents are smooth", async () => {
    const blended = await inTiles(waves(6), 16, inkling.decode)
    expect(jumpsAtSeams(blended, 4 * stride)).toBeLessThan(1.5)
  })

  test("hides what a norm over each tile does to colours", async () => {
    const norm = async (z: Picture) => ({ ...z, data: z.data.map((v) => v - mean(z.data)) })
    expect(jumpsAtSeams(await withoutOverlap(waves(1), stride, norm), stride)).toBeGreaterThan(5)
    expect(jumpsAtSeams(await inTiles(waves(1), 16, norm), stride)).toBeLessThan(1.5)
  })
})

test("tiles of what each place alone decides are the whole", async () => {
  const random = dice(3)
  for (let n = 0; n < 30; n++) {
    const [b, c, h, w] = [2, 3, 40, 40].map((most) => 1 + Math.floor(random.next() * most))
    const x = float32(
      [b, c, h, w],
      Array.from({ length: b * c * h * w }, () => random.next()),
    )
    const sizes: number[] = []
    const scale = random.pick([1, 2, 3])
    const whole = await inTiles(x, 8, async (tile) => {
      sizes.push(tile.shape[2], tile.shape[3])
      return enlarged(tile, scale)
    })
    expect(Math.max(...sizes)).toBeLessThanOrEqual(8)
    expect(relativeDifference(whole, enlarged(x, scale))).toBeLessThan(1e-6)
  }
})

/** Every number as a square of them. */
function enlarged({ shape: [b, c, h, w], data }: Picture, scale: number): Picture {
  const [height, width] = [h * scale, w * scale]
  const numbers = Float32Array.from({ length: b * c * height * width }, (_, i) => {
    const [x, y, plane] = [i % width, Math.floor(i / width) % height, Math.floor(i / (width * height))]
    return data[(plane * h + Math.floor(y / scale)) * w + Math.floor(x / scale)]
  })
  return float32([b, c, height, width], numbers)
}

/** Latents that change slowly, each channel another way: [1, channels, 12, 42]. */
function waves(channels: number): Picture {
  const [h, w] = [12, 42]
  const numbers = Float32Array.from({ length: channels * h * w }, (_, i) => {
    const [x, y, plane] = [i % w, Math.floor(i / w) % h, Math.floor(i / (w * h))]
    return 2 * Math.sin(0.04 * x * (plane + 1) + plane) + Math.cos(0.1 * y + plane)
  })
  return float32([1, channels, h, w], numbers)
}

/** Tiles of `side` along the width, one beside the other. */
async function withoutOverlap(z: Picture, side: number, run: (z: Picture) => Promise<Picture>) {
  const [, channels, h, w] = z.shape
  const tiles: Picture[] = []
  for (let left = 0; left < w; left += side) {
    const width = Math.min(side, w - left)
    const numbers = Float32Array.from({ length: channels * h * width }, (_, i) => {
      return z.data[Math.floor(i / width) * w + left + (i % width)]
    })
    tiles.push(await run(float32([1, channels, h, width], numbers)))
  }
  const [, colours, height] = tiles[0].shape
  const rows = Array.from({ length: colours * height }, (_, row) =>
    tiles.flatMap(({ shape, data }) => [...data.subarray(row * shape[3], (row + 1) * shape[3])]),
  )
  return float32([1, colours, height, rows[0].length], rows.flat())
}

function mean(values: Float32Array): number {
  return values.reduce((sum, v) => sum + v, 0) / values.length
}

/** The largest step from a column to the next at the seams, over the largest anywhere else: a seam is a whole line. */
function jumpsAtSeams({ shape: [, , , width], data }: Picture, stride: number): number {
  const steps = new Float64Array(width - 1)
  for (let i = 0; i < data.length; i++) {
    const x = i % width
    if (x + 1 < width) steps[x] += Math.abs(data[i + 1] - data[i])
  }
  const largest = (atSeam: boolean) =>
    Math.max(...steps.filter((_, x) => ((x + 1) % stride === 0) === atSeam))
  return largest(true) / largest(false)
}
