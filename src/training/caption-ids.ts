import type { CpuGenerator } from "../ground/random/cpu-generator.ts"
import type { Tokenizer } from "../tokenizers/clip-bpe.ts"
import type { CaptionedImages } from "./dataset.ts"

/** All captions of a dataset, tokenized once. */
export interface CaptionIds {
  /** Ids in a row. */
  readonly length: number
  /** One caption of picture i, drawn among its captions: its ids, and how many of them come before the padding. */
  draw(i: number, random: CpuGenerator): { ids: Int32Array; used: number }
  /** The ids of the empty caption, which stands for "no condition". */
  readonly empty: Int32Array
}

/** Tokenizes every caption of a dataset, padded as the text encoder reads them. */
export function tokenizeCaptions(images: CaptionedImages, tokenizer: Tokenizer): CaptionIds {
  const length = tokenizer.maxLength
  const starts = new Int32Array(images.count + 1)
  for (let i = 0; i < images.count; i++) starts[i + 1] = starts[i] + images.captions[i].length
  const ids = new Int32Array(starts[images.count] * length)
  const used = new Int32Array(starts[images.count])
  let row = 0
  for (const captions of images.captions)
    for (const caption of captions) {
      const tokens = tokenizer.tokenize(caption)
      ids.set(tokens.ids, row * length)
      used[row++] = tokens.length
    }
  return {
    length,
    empty: Int32Array.from(tokenizer.tokenize("").ids),
    draw(i, random) {
      const at = Number(random.randint(starts[i], starts[i + 1], [1]).data[0])
      return { ids: ids.subarray(at * length, (at + 1) * length), used: used[at] }
    },
  }
}
