import type { CpuGenerator } from "../ground/random/cpu-generator.ts"
import type { Tokenizer, TokenRow } from "../tokenizers/clip-bpe.ts"
import type { CaptionedImages } from "./dataset.ts"

/** The distinct captions of a dataset, each tokenized once. */
export interface CaptionIds {
  /** Ids of a caption. */
  readonly length: number
  /** A caption's ids, and how many of them come before the padding. Caption 0 is empty: it stands for "no condition". */
  row(caption: number): TokenRow
  /** The number of one caption of picture i, drawn among its captions. */
  draw(i: number, random: CpuGenerator): number
}

/** Tokenizes every caption of a dataset, padded as the text encoder reads them. */
export function tokenizeCaptions(
  images: CaptionedImages,
  tokenizer: Pick<Tokenizer, "maxLength" | "tokenize">,
): CaptionIds {
  const numbers = new Map([["", 0]])
  const ofPictures = images.captions.map((texts) =>
    texts.map((text) => {
      const number = numbers.get(text) ?? numbers.size
      numbers.set(text, number)
      return number
    }),
  )
  const rows = [...numbers.keys()].map((text) => tokenizer.tokenize(text))
  return {
    length: tokenizer.maxLength,
    row: (caption) => rows[caption],
    draw(i, random) {
      const among = ofPictures[i]
      return among[Number(random.randint(0, among.length, [1]).data[0])]
    },
  }
}
