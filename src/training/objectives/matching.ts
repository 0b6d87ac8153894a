import { constant, input } from "../../graph/node.ts"
import {
  add,
  div,
  exp,
  logSoftmax,
  matmul,
  mul,
  reduceSum,
  scale,
  shift,
  sqrt,
  transpose,
} from "../../graph/ops/index.ts"
import type { Value } from "../../graph/value.ts"
import { float32, int64 } from "../../ground/tensor.ts"
import { clipText, pooledText } from "../../models/clip-text.ts"
import { clipVision } from "../../models/clip-vision.ts"
import type { ClipTextConfig } from "../../models/config/clip-text.ts"
import type { ClipVisionConfig } from "../../models/config/clip-vision.ts"
import type { CaptionIds } from "../caption-ids.ts"
import { type CaptionedImages, imageBatch } from "../dataset.ts"
import type { Objective } from "../trainer.ts"

/** The two towers that a text and a picture climb. */
export interface Towers {
  readonly text: ClipTextConfig
  readonly vision: ClipVisionConfig
}

/** How pairs are put together. */
export interface MatchingOptions {
  readonly batchSize: number
  /** Ids of a caption that are read, its end included; longer captions are cut, as tokenizers do. All unless given. */
  readonly captionLength?: number
}

/**
 * Texts and pictures of a batch find each other (Radford et al. 2021): cross-entropy over the cosines of all
 * pairs, both ways, times a learnt temperature.
 * Weight names: transformers `CLIPModel`. Pictures go in at [-1, 1].
 */
export function matching(
  images: CaptionedImages,
  captions: CaptionIds,
  { text, vision }: Towers,
  { batchSize, captionLength = captions.length }: MatchingOptions,
): Objective {
  const length = Math.min(captionLength, captions.length)
  const pictureShape = [batchSize, 3, images.height, images.width]
  return {
    loss(weights) {
      const ids = input("ids", "int64", [batchSize, length])
      const ends = input("ends", "int64", [batchSize])
      const pixels = input("pixels", "float32", pictureShape)
      const { lastHiddenState } = clipText(ids, weights, text)
      const texts = normalised(pooledText(lastHiddenState, ends, weights))
      const pictures = normalised(clipVision(pixels, weights, vision).imageEmbeds)
      const scores = mul(matmul(texts, pictures, { transB: true }), exp(weights.get("logit_scale")))
      return scale(add(crossEntropy(scores), crossEntropy(transpose(scores, [1, 0]))), 0.5)
    },
    batch(random) {
      const chosen = Array.from(random.randint(0, images.count, [batchSize]).data, Number)
      const ids = new BigInt64Array(batchSize * length)
      const ends = chosen.map((i, n) => {
        const row = captions.row(captions.draw(i, random))
        const end = Math.min(row.length, length) - 1
        for (let k = 0; k < length; k++) ids[n * length + k] = BigInt(row.ids[k])
        ids[n * length + end] = BigInt(row.ids[row.length - 1])
        return n * length + end
      })
      return {
        ids: { dtype: "int64", shape: [batchSize, length], data: ids },
        ends: int64([batchSize], ends),
        pixels: float32(pictureShape, imageBatch(images, chosen)),
      }
    },
  }
}

/** Rows of length 1. */
function normalised(x: Value): Value {
  return div(x, sqrt(shift(reduceSum(mul(x, x), [1], { keepDims: true }), 1e-12)))
}

/** Mean over the rows of -log softmax at the diagonal, where the true pairs are. */
function crossEntropy(scores: Value): Value {
  const n = scores.shape[0]
  const diagonal = new Float32Array(n * n)
  for (let i = 0; i < n; i++) diagonal[i * n + i] = -1 / n
  return reduceSum(mul(logSoftmax(scores), constant(float32([n, n], diagonal))))
}
