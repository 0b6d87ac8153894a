import { absolutePath } from "#platform"
import { exp } from "../graph/ops/index.ts"
import type { Weights } from "../graph/weights.ts"
import { UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32, int64 } from "../ground/tensor.ts"
import { clipText, endPosition, pooledText } from "../models/clip-text.ts"
import { clipVision } from "../models/clip-vision.ts"
import { clipTextConfig } from "../models/config/clip-text.ts"
import { clipVisionConfig } from "../models/config/clip-vision.ts"
import { clipTextParameters } from "../models/parameters/clip-text.ts"
import { clipVisionParameters } from "../models/parameters/clip-vision.ts"
import type { ParameterSpec } from "../models/parameters/module.ts"
import { checkAllRead, componentWeights, openComponent } from "../pipelines/component.ts"
import { network } from "../pipelines/network.ts"
import { joinRows } from "../pipelines/rows.ts"
import { openTokenizer } from "../pipelines/tokenizer.ts"
import { chooseDevice } from "../runtime/device.ts"
import { fusesAttention } from "../runtime/kernel-checks.ts"
import type { SessionOptions } from "../runtime/session.ts"

/** Two towers that learnt to give a picture and a text that say the same embeddings of the same direction. */
export interface Scorer {
  /** Width and height in pixels of the pictures that it reads. */
  readonly imageSize: number
  /** What cosines are multiplied by to become the logits that the towers were trained with. */
  readonly scale: number
  /** n opaque pictures -> [n, P], each row of length 1. */
  imageEmbeddings(pictures: readonly Pixels[]): Promise<Tensor<"float32">>
  /** n texts -> [n, P], each row of length 1. What exceeds the text encoder's length is left out. */
  textEmbeddings(texts: readonly string[]): Promise<Tensor<"float32">>
  /** Gives all memory back. */
  close(): Promise<void>
}

/** Pictures or texts that climb a tower together. */
const batchSize = 32

const logitScale: ParameterSpec = { name: "logit_scale", shape: [], init: { kind: "constant", value: 0 } }

/**
 * Opens the scorer of a model's folder: `scorer` holds the image tower, the projection of the texts and the scale,
 * `text_encoder` the text tower, `tokenizer` its tokenizer. Pictures go in at [-1, 1], as the trainer's towers take them.
 * Weight names: transformers `CLIPModel`.
 * Throws a LimnError where a file is missing, a FormatError where one is not what it claims to be.
 */
export async function openScorer(
  folder: string,
  options: Pick<SessionOptions, "device" | "threads"> = {},
): Promise<Scorer> {
  const part = (name: string) => absolutePath(folder, name)
  const [encoder, scorer, tokenizer] = await Promise.all([
    openComponent(part("text_encoder")),
    openComponent(part("scorer")),
    openTokenizer(part("tokenizer")),
  ])
  const vision = clipVisionConfig(scorer.config, absolutePath(scorer.path, "config.json"))
  const text = {
    ...clipTextConfig(encoder.config, absolutePath(encoder.path, "config.json")),
    projectionDim: vision.projectionDim,
  }
  const both = { ...scorer, tensors: new Map([...encoder.tensors, ...scorer.tensors]) }
  const weightsOf = componentWeights(both, [
    ...clipTextParameters(text),
    ...clipVisionParameters(vision),
    logitScale,
  ])
  const device = await chooseDevice(options.device ?? "auto")
  const fusedAttention = await fusesAttention(device)
  const running = { ...options, device, fusedAttention, precision: "fp32" } as const

  const imageTower = network(({ pixels }) => {
    const weights = weightsOf()
    const { imageEmbeds } = clipVision(pixels, weights, vision)
    checkRead(weights, /^(vision_model|visual_projection)\./)
    return { embeds: imageEmbeds }
  }, running)
  const textTower = network(({ ids, ends }) => {
    const weights = weightsOf()
    const embeds = pooledText(clipText(ids, weights, text).lastHiddenState, ends, weights)
    checkRead(weights, /^(text_model|text_projection)\./)
    return { embeds }
  }, running)
  const temperature = network(() => ({ scale: exp(weightsOf().get(logitScale.name)) }), running)
  const { scale } = await temperature.run({})
  await temperature.close()

  const { imageSize } = vision
  return {
    imageSize,
    scale: Number(scale.data[0]),
    imageEmbeddings: (pictures) =>
      inBatches(pictures, vision.projectionDim, async (batch) => {
        const { embeds } = await imageTower.run({ pixels: pictureBatch(batch, imageSize) })
        return embeds
      }),
    textEmbeddings: (texts) =>
      inBatches(texts, vision.projectionDim, async (batch) => {
        const rows = batch.map((one) => tokenizer.tokenize(one).ids)
        const length = tokenizer.maxLength
        const ends = rows.map((ids, n) => n * length + endPosition(ids, text.eosTokenId))
        const { embeds } = await textTower.run({
          ids: int64([rows.length, length], rows.flat()),
          ends: int64([rows.length], ends),
        })
        return embeds
      }),
    close: async () => {
      await Promise.all([imageTower.close(), textTower.close()])
    },
  }
}

/**
 * How well each picture matches its own text: the cosine of their embeddings, -1 to 1 (Radford et al. 2021; CLIPScore,
 * Hessel et al. 2021, is 2.5 times it, 0 where it is negative).   [n, P], [n, P], rows of length 1   ->   n numbers
 */
export function matchScores(images: Tensor<"float32">, texts: Tensor<"float32">): Float32Array {
  const [count, width] = images.shape
  return Float32Array.from({ length: count }, (_, n) => {
    let dot = 0
    for (let k = n * width; k < (n + 1) * width; k++) dot += images.data[k] * texts.data[k]
    return dot
  })
}

/** Throws where a tower left a tensor of its own unread. */
function checkRead(weights: Weights, own: RegExp): void {
  checkAllRead(weights, { unused: (name) => !own.test(name) })
}

/** The embeddings of many things, a batch at a time: [n, width], each row of length 1. */
async function inBatches<T>(
  things: readonly T[],
  width: number,
  embed: (batch: readonly T[]) => Promise<Tensor>,
): Promise<Tensor<"float32">> {
  if (things.length === 0) return float32([0, width], [])
  const batches = []
  for (let at = 0; at < things.length; at += batchSize) {
    const embeds = await embed(things.slice(at, at + batchSize))
    batches.push(unitRows(embeds as Tensor<"float32">))
  }
  return joinRows(batches)
}

function unitRows({ shape, data }: Tensor<"float32">): Tensor<"float32"> {
  const [count, width] = shape
  const rows = new Float32Array(data.length)
  for (let n = 0; n < count; n++) {
    const row = data.subarray(n * width, (n + 1) * width)
    const length = Math.hypot(...row)
    rows.set(
      row.map((value) => value / length),
      n * width,
    )
  }
  return float32(shape, rows)
}

/** Pictures as the tower takes them: [n, 3, size, size], 0 and 255 at -1 and 1. */
function pictureBatch(pictures: readonly Pixels[], size: number): Tensor<"float32"> {
  const plane = size * size
  const batch = new Float32Array(pictures.length * 3 * plane)
  for (const [n, { width, height, channels, data }] of pictures.entries()) {
    if (width !== size || height !== size || channels !== 3)
      throw new UsageError(
        `The scorer reads opaque pictures of ${size}x${size} pixels, not ${width}x${height}x${channels}; make them so first.`,
      )
    for (let c = 0; c < 3; c++)
      for (let p = 0; p < plane; p++) batch[(3 * n + c) * plane + p] = data[3 * p + c] / 127.5 - 1
  }
  return float32([pictures.length, 3, size, size], batch)
}
