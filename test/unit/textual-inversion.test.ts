import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { zeros } from "../../src/ground/tensor.ts"
import { load } from "../../src/pipelines/load.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { withTextualInversion } from "../../src/pipelines/textual-inversion.ts"
import { dice } from "./dice.ts"
import { goldenFolder } from "./golden.ts"

let small: Model
let large: Model
let folder: string
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "limn-words-"))
  small = await load(join(goldenFolder, "pipeline/model"), { device: "cpu" })
  large = await load(join(goldenFolder, "pipeline-xl/model"), { device: "cpu" })
})
afterAll(() => rmSync(folder, { recursive: true }))

/** Its text encoders, all of which are CLIPs. */
const clips = ({ textEncoders }: Model) => textEncoders.filter((encoder) => encoder.kind === "clip")

const golden = (name: string) => join(goldenFolder, "prompts", name)

function write(name: string, tensors: Readonly<Record<string, readonly number[]>>): string {
  const made = Object.entries(tensors).map(([key, shape]): [string, Tensor] => [key, zeros("float32", shape)])
  writeFileSync(join(folder, name), Buffer.concat(encodeSafetensors(new Map(made))))
  return join(folder, name)
}

describe("a file of textual inversion", () => {
  test.each([
    ["cat-toy.bin", "<cat-toy>", 3],
    ["cat-toy.safetensors", "<cat-toy>", 1],
    ["ink-style.pt", "ink-style", 2],
    ["parameter-dict.pt", "parameter-dict", 2],
    ["emb-params.safetensors", "emb-params", 2],
  ])("%s gives the word %s of %i tokens", async (name, word, count) => {
    const [{ tokenizer, config, learnt }] = clips(await withTextualInversion(small, golden(name)))
    expect(learnt).toMatchObject([{ word, vectors: { shape: [count, 24] } }])
    const ids = Array.from({ length: count }, (_, k) => config.vocabSize + k)
    expect(tokenizer.encode(`a ${word.toUpperCase()}`)).toEqual([
      ...clips(small)[0].tokenizer.encode("a"),
      ...ids,
    ])
  })

  test("is found in any case and within other words, as transformers finds it", async () => {
    const one = await withTextualInversion(small, golden("cat-toy.bin"))
    const [{ tokenizer }] = clips(await withTextualInversion(one, golden("ink-style.pt")))
    // By CLIPTokenizer of transformers 5, with all vectors of each word.
    expect(tokenizer.encode("a <CAT-toy>, Ink-Style inkink-styles")).toEqual([
      320, 764, 765, 766, 267, 767, 768, 512, 330, 767, 768, 338,
    ])
  })

  test("may give SDXL's two encoders a word", async () => {
    const encoders = clips(await withTextualInversion(large, golden("xl-word.safetensors"), { token: "Ω" }))
    expect(encoders.map(({ learnt }) => learnt[0].vectors.shape)).toEqual([
      [2, 16],
      [2, 24],
    ])
    for (const { tokenizer, config } of encoders)
      expect(tokenizer.encode("ω")).toEqual([config.vocabSize, config.vocabSize + 1])
  })

  test("leaves the model as it was, and joins other words", async () => {
    const one = await withTextualInversion(small, golden("cat-toy.bin"))
    const two = await withTextualInversion(one, golden("ink-style.pt"))
    const [{ vocabSize }] = clips(small)
    const text = "<cat-toy> ink-style <cat-toy>_2"
    expect(clips(two)[0].tokenizer.encode(text)).toEqual([0, 1, 2, 3, 4, 2].map((k) => vocabSize + k))
    for (const model of [small, one]) {
      const ids = clips(model)[0].tokenizer.encode("ink-style")
      expect(ids.every((id) => id < vocabSize)).toBe(true)
    }
    const { ids, places } = clips(two)[0].rows([[{ text: "<cat-toy> a", weight: 1 }]])[0].feeds
    const [bos, a] = clips(small)[0].tokenizer.tokenize("a").ids
    expect([...ids.data.slice(0, 5)]).toEqual([bos, 0, 0, 0, a].map(BigInt))
    expect([...places.data.slice(0, 5)]).toEqual([0n, 77n, 78n, 79n, 4n])
  })
})

describe("one sentence says what is wrong with", () => {
  const refuses = async (loading: Promise<Model>, kind: typeof LimnError, message: string | RegExp) => {
    await expect(loading).rejects.toThrow(kind)
    await expect(loading).rejects.toThrow(message)
    await expect(loading).rejects.toThrow(/^[^\n]{1,400}\.$/)
  }
  test("vectors of another width", () =>
    refuses(
      withTextualInversion(small, write("wide.safetensors", { "<w>": [2, 768] })),
      FormatError,
      /holds vectors 768 wide, and .*model reads words 24 wide; give a textual inversion of such a model/,
    ))
  test("a word for another family", () =>
    refuses(withTextualInversion(large, golden("cat-toy.bin")), FormatError, "holds vectors 24 wide, and"))
  test("one of SDXL's two", () =>
    refuses(
      withTextualInversion(large, write("half.safetensors", { clip_g: [1, 24] })),
      FormatError,
      /holds vectors 24 wide, and .* reads words 16 and 24 wide/,
    ))
  test("other numbers of vectors for each", () =>
    refuses(
      withTextualInversion(large, write("odd.safetensors", { clip_l: [1, 16], clip_g: [2, 24] })),
      FormatError,
      "holds 1 and 2 vectors of one word",
    ))
  test.each([[[]], [[0, 24]], [[1, 1, 24]]])("a tensor of shape %j", (shape) =>
    refuses(
      withTextualInversion(small, write("shape.safetensors", { "<w>": shape })),
      FormatError,
      "which is no list of vectors",
    ),
  )
  test("a file of something else", () =>
    refuses(
      withTextualInversion(
        small,
        join(goldenFolder, "pipeline/model/unet/diffusion_pytorch_model.safetensors"),
      ),
      FormatError,
      /holds \d+ tensors, where a textual inversion holds one word/,
    ))
  test("a file that is not there", () =>
    refuses(withTextualInversion(small, join(folder, "nowhere.pt")), LimnError, /nowhere\.pt/))
  test("a word that is taken, or none", async () => {
    const one = await withTextualInversion(small, golden("cat-toy.bin"))
    await refuses(
      withTextualInversion(one, golden("cat-toy.safetensors")),
      UsageError,
      'the word "<cat-toy>"',
    )
    await refuses(
      withTextualInversion(one, golden("ink-style.pt"), { token: "<cat-toy>_1" }),
      UsageError,
      'the word "<cat-toy>_1"',
    )
    await refuses(
      withTextualInversion(small, golden("ink-style.pt"), { token: " " }),
      UsageError,
      "without letters",
    )
  })
})

test("no tensors make it fail otherwise", async () => {
  const { below, pick } = dice(9)
  const names = ["clip_l", "clip_g", "emb_params", "string_to_param.*", "<w>", "", "string_to_param.a.b"]
  for (let round = 0; round < 150; round++) {
    const tensors = Object.fromEntries(
      Array.from({ length: below(4) }, () => [
        pick(names),
        Array.from({ length: below(4) }, () => pick([0, 1, 2, 16, 24])),
      ]),
    )
    try {
      const model = await withTextualInversion(pick([small, large]), write("any.safetensors", tensors))
      for (const { learnt, config } of clips(model))
        expect(learnt[0].vectors.shape[1]).toBe(config.hiddenSize)
    } catch (error) {
      expect(error).toBeInstanceOf(LimnError)
    }
  }
})
