import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Tensor } from "../../src/ground/tensor.ts"
import { int64 } from "../../src/ground/tensor.ts"
import { controlNet } from "../../src/pipelines/controlnet.ts"
import { load } from "../../src/pipelines/load.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { encodeNegative, encodePrompt } from "../../src/pipelines/prompts.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { firstKolors } from "../unit/first-kolors.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "../unit/golden.ts"
import { checkedModel } from "./checked-model.ts"
import type { Case } from "./same-pictures.ts"
import { expectSamePictures } from "./same-pictures.ts"

let model: Model
const loaded = (folder: string) => {
  beforeAll(async () => {
    model = await load(folder, { device: "cpu", threads: 1 })
  })
  afterAll(() => model.close())
}

/** The tokenizer's rows for the negative prompt and for the prompt, by the names of the reference. */
function expectSameRows({ negativePrompt, prompt }: Case, golden: Record<string, Tensor>): void {
  const [{ tokenizer }] = model.textEncoders
  const rows = [negativePrompt ?? "", prompt].map((text) => tokenizer.tokenize(text))
  const tensorOf = (parts: readonly ArrayLike<number>[]) =>
    int64(
      [2, tokenizer.maxLength],
      parts.flatMap((part) => Array.from(part)),
    )
  expect(tensorOf(rows.map(({ ids }) => ids))).toEqual(golden.input_ids)
  const masked = rows.filter((row) => "attentionMask" in row)
  if (masked.length === 0) return
  expect(tensorOf(masked.map(({ attentionMask }) => attentionMask))).toEqual(golden.attention_mask)
  expect(tensorOf(masked.map(({ positionIds }) => positionIds))).toEqual(golden.position_ids)
}

describe("textToImage against diffusers' StableDiffusionPipeline", () => {
  loaded(join(goldenFolder, "pipeline/model"))
  test.each(goldenJson<Case[]>("pipeline/cases.json"))("$name", async (given) => {
    const golden = goldenTensors(`pipeline/${given.name}.safetensors`)
    expectSameRows(given, golden)
    const { encoderHiddenStates } = await encodePrompt(model, given.prompt)
    expect(relativeDifference(encoderHiddenStates, golden.prompt_embeds)).toBeLessThan(1e-5)
    await expectSamePictures(model, given, golden)
  })
})

describe("variations of a seed against diffusers' pipeline from the same noise", () => {
  loaded(join(goldenFolder, "pipeline/model"))
  test.each(goldenJson<Case[]>("variations/cases.json"))("$name", async (given) => {
    await expectSamePictures(model, given, goldenTensors(`variations/${given.name}.safetensors`))
  })
})

describe("textToImage against diffusers' StableDiffusionXLPipeline", () => {
  loaded(join(goldenFolder, "pipeline-xl/model"))
  test.each(goldenJson<Case[]>("pipeline-xl/cases.json"))("$name", async (given) => {
    const golden = goldenTensors(`pipeline-xl/${given.name}.safetensors`)
    const positive = await encodePrompt(model, given.prompt, given)
    expect(relativeDifference(positive.encoderHiddenStates, golden.prompt_embeds)).toBeLessThan(1e-5)
    expect(relativeDifference(positive.textEmbeds, golden.pooled_prompt_embeds)).toBeLessThan(1e-5)
    if (golden.negative_prompt_embeds) {
      const negative = await encodeNegative(model, given.negativePrompt ?? "", given)
      const expected = [golden.negative_prompt_embeds, golden.negative_pooled_prompt_embeds]
      // Where nothing was said, the reference is zeros.
      for (const [i, one] of [negative.encoderHiddenStates, negative.textEmbeds].entries())
        if (given.negativePrompt === null) expect(one).toEqual(expected[i])
        else expect(relativeDifference(one, expected[i])).toBeLessThan(1e-5)
    }
    await expectSamePictures(model, given, golden)
  })
})

describe.each(["as diffusers has it", "as it was first published"])(
  "Kolors, %s, against diffusers' KolorsPipeline and KolorsImg2ImgPipeline",
  (layout) => {
    loaded(layout === "as diffusers has it" ? join(goldenFolder, "pipeline-kolors/model") : firstKolors())
    test.each(goldenJson<Case[]>("pipeline-kolors/cases.json"))("$name", async (given) => {
      const golden = goldenTensors(`pipeline-kolors/${given.name}.safetensors`)
      expectSameRows(given, golden)
      if (golden.prompt_embeds) {
        const positive = await encodePrompt(model, given.prompt)
        const negative = await encodeNegative(model, given.negativePrompt ?? "")
        for (const [prefix, one] of [
          ["", positive],
          ["negative_", negative],
        ] as const) {
          expect(relativeDifference(one.encoderHiddenStates, golden[`${prefix}prompt_embeds`])).toBeLessThan(
            1e-5,
          )
          expect(relativeDifference(one.textEmbeds, golden[`${prefix}pooled_prompt_embeds`])).toBeLessThan(
            1e-5,
          )
        }
      }
      await expectSamePictures(model, given, golden)
    })
  },
)
describe("a safety checker", () => {
  const { folder: checked, given, withheld, remove } = checkedModel()
  afterAll(remove)

  test("withholds the pictures that diffusers' withholds, and says so", async () => {
    const model = await load(checked, { device: "cpu", threads: 1 })
    const expected = goldenTensors("safety-checker/pipeline/case.safetensors").images
    const drawn = await textToImage(model, given)
    const bytes = drawn.images.flatMap(({ pixels }) => Array.from(pixels.data))
    expect(bytes).toHaveLength(expected.data.length)
    const near = bytes.filter((byte, i) => Math.abs(byte - Number(expected.data[i])) <= 1).length
    expect(near / bytes.length).toBeGreaterThan(0.999)
    expect(drawn.withheld).toEqual(withheld)
    expect(drawn.warnings).toHaveLength(1)
    expect(drawn.warnings[0]).toContain("withheld picture 2 of 3")
    // A model with a LoRA has a share in the checker, and keeps it when the first is closed.
    const further = await model.with()
    await model.close()
    expect((await textToImage(further, given)).withheld).toEqual(withheld)
    await further.close()
  })

  test("looks at nothing where it is not wanted", async () => {
    const model = await load(checked, { device: "cpu", threads: 1, safetyChecker: false })
    const { withheld, images, warnings } = await textToImage(model, given)
    expect(withheld).toEqual([false, false, false])
    expect(images[1].pixels.data.some((byte) => byte > 0)).toBe(true)
    expect(warnings).toEqual([])
    await model.close()
  })
})

describe.each(["pipeline", "pipeline-xl", "nine"])("a given picture against diffusers, model %s", (name) => {
  const nine = mkdtempSync(join(tmpdir(), "limn-nine-"))
  cpSync(join(goldenFolder, "pipeline/model"), nine, { recursive: true })
  rmSync(join(nine, "unet"), { recursive: true })
  cpSync(join(goldenFolder, "given-pictures/unet-nine"), join(nine, "unet"), { recursive: true })
  afterAll(() => rmSync(nine, { recursive: true }))

  loaded(name === "nine" ? nine : join(goldenFolder, name, "model"))
  const cases = goldenJson<Case[]>("given-pictures/cases.json")
  test.each(cases.filter((one) => one.model === name))("$name", async (given) => {
    await expectSamePictures(model, given, goldenTensors(`given-pictures/${given.name}.safetensors`))
  })
})

describe.each(["pipeline", "pipeline-xl"])("ControlNets against diffusers', model %s", (name) => {
  const cases = goldenJson<Case[]>("controlnet/cases.json").filter((one) => one.model === name)
  const sets = [...new Set(cases.map(({ controlNets }) => controlNets!.join()))]
  describe.each(sets)("with %s", (set) => {
    loaded(join(goldenFolder, name, "model"))
    let plain: Model
    beforeAll(async () => {
      plain = model
      model = await plain.with(
        ...set.split(",").map((net) => controlNet(join(goldenFolder, "controlnet", net))),
      )
    })
    afterAll(() => plain.close())
    test.each(cases.filter(({ controlNets }) => controlNets!.join() === set))("$name", async (given) => {
      await expectSamePictures(model, given, goldenTensors(`controlnet/${given.name}-case.safetensors`))
    })
  })
})
