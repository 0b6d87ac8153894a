import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it } from "vitest"
import { describeModel } from "../../src/cli/info-model.ts"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, toFloat32 } from "../../src/ground/tensor.ts"
import { hubModel } from "../../src/pipelines/hub-model.ts"
import { load } from "../../src/pipelines/load.ts"
import { lora } from "../../src/pipelines/lora.ts"
import type { Model } from "../../src/pipelines/model.ts"
import { encodeNegative, encodePrompt, promptWarnings } from "../../src/pipelines/prompts.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { withTextualInversion } from "../../src/pipelines/textual-inversion.ts"
import { firstKolors } from "./first-kolors.ts"
import { goldenFolder, relativeDifference, tensorsIn } from "./golden.ts"
import { commit, hubFixture, namesBelow } from "./hub-fixture.ts"
import { filesIn } from "./hub-server.ts"

const diffusers = join(goldenFolder, "pipeline-kolors/model")
const first = firstKolors()
const unindexed = firstKolors()
rmSync(join(unindexed, "model_index.json"))

const layouts = [
  ["diffusers'", diffusers],
  ["its first publishers'", first],
  ["its first publishers', without an index", unindexed],
] as const

/** The folder of diffusers' layout with other keys in some of its JSON files. */
function edited(changes: Readonly<Record<string, object>>): string {
  const folder = mkdtempSync(join(tmpdir(), "limn-kolors-"))
  cpSync(diffusers, folder, { recursive: true })
  for (const [name, keys] of Object.entries(changes)) {
    const path = join(folder, name)
    writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...keys }))
  }
  afterAll(() => rmSync(folder, { recursive: true }))
  return folder
}

describe.each(layouts)("Kolors in %s layout", (_, folder) => {
  it("is loaded with its defaults, and its empty negative prompt is read", async () => {
    const model = await load(folder, { device: "cpu" })
    expect(model).toMatchObject({
      size: [64, 64],
      defaults: { steps: 50, guidanceScale: 5 },
      zeroNegative: false,
      mostClipSkip: 0,
      unetConfig: { encoderHidDim: 24, additionEmbed: { type: "text_time", inputDim: 72 } },
      textEncoders: [{ kind: "chatglm", hiddenSize: 24, pooledSize: 24, tokenizer: { maxLength: 256 } }],
    })
    await model.close()
  })

  it("is described", async () => {
    const { text, json } = await describeModel(folder)
    expect(text).toContain(folder === diffusers ? "A model: KolorsPipeline" : "A model: Kolors\n")
    expect(text).toMatch(/text_encoder +ChatGLMModel +[\d,]+ +float16/)
    expect(text).toMatch(/unet +UNet2DConditionModel +[\d,]+ +float16/)
    expect(text).toMatch(/scheduler +EulerDiscreteScheduler/)
    expect(text).not.toMatch(/missing|\?/)
    expect(json).toMatchObject({ kind: "model" })
  })
})

describe("of Kolors on the Hub is fetched what a run reads", () => {
  const on = hubFixture()
  const others = { "README.md": "# Kolors", "text_encoder/modeling_chatglm.py": "pass" }
  const more = (names: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(names).map(([name, text]) => [name, Buffer.from(text)]))

  it.each(layouts)("in %s layout", async (_, folder) => {
    const files = filesIn(folder)
    on.hub.repos["org/tiny"] = { files: { ...files, ...more(others) }, commit }
    expect(namesBelow(await hubModel("org/tiny", {}))).toEqual(Object.keys(files).sort())
  })
})

describe("a loaded Kolors", () => {
  let model: Model
  beforeAll(async () => {
    model = await load(diffusers, { device: "cpu", threads: 1 })
  })
  afterAll(() => model.close())

  it("remembers how a text reads", async () => {
    const again = await encodePrompt(model, "a cat")
    expect(await encodePrompt(model, "a cat")).toBe(again)
    expect(await encodePrompt(model, "a dog")).not.toEqual(again)
    expect(again.encoderHiddenStates.shape).toEqual([1, 256, 24])
    expect(again.textEmbeds.shape).toEqual([1, 24])
  })

  it("refuses a folder that is no LoRA, or two of the same part", async () => {
    const place = mkdtempSync(join(tmpdir(), "limn-lora-"))
    const given = () => model.with(lora(`${place}/`))
    await expect(given()).rejects.toThrow(UsageError)
    await expect(given()).rejects.toThrow(/has no pytorch_lora_weights\.safetensors and no adapter_model/)
    const file = join(goldenFolder, "kolors-lora/checkpoint/pytorch_lora_weights.safetensors")
    for (const stem of ["pytorch_lora_weights", "adapter_model"])
      cpSync(file, join(place, `${stem}.safetensors`))
    await expect(given()).rejects.toThrow(/ both change the model's unet; give them one by one\.$/)
    rmSync(place, { recursive: true })
    await expect(given()).rejects.toThrow(/There is no LoRA at .*; give a file or a folder\./)
  })

  it("says what it leaves out of a long text, and draws the rest", () => {
    const long = "cat ".repeat(300)
    expect(promptWarnings(model, ["a cat", long], "plain")).toEqual([
      expect.stringMatching(
        /^A prompt is longer than the 256 tokens that the model reads; its end was left out: ".*cat .{1,60}\.\.\."\.$/,
      ),
    ])
  })

  it("reads brackets as they stand", async () => {
    const [warning] = promptWarnings(model, ["a (red:1.3) cat"], "plain")
    expect(warning).toBe(
      'Weights are read as text in "a (red:1.3) cat"; this model\'s text encoder knows none.',
    )
    const drawing = textToImage(model, { prompt: "a cat", promptSyntax: "weighted" })
    await expect(drawing).rejects.toThrow(UsageError)
    await expect(drawing).rejects.toThrow(/the text encoder of model knows no weights; choose "plain"\.$/)
  })

  it("leaves out no layers, and learns no words", async () => {
    const skipping = textToImage(model, { prompt: "a cat", clipSkip: 1 })
    await expect(skipping).rejects.toThrow("clipSkip is 1; give a whole number from 0 to 0.")
    const learning = withTextualInversion(model, join(goldenFolder, "prompts/cat-toy.bin"))
    await expect(learning).rejects.toThrow(UsageError)
    await expect(learning).rejects.toThrow(/model reads texts with ChatGLM/)
  })
})

it("a Kolors that says so takes zeros for a missing negative prompt", async () => {
  const model = await load(edited({ "model_index.json": { force_zeros_for_empty_prompt: true } }), {
    device: "cpu",
    threads: 1,
  })
  const { encoderHiddenStates, textEmbeds } = await encodeNegative(model, "")
  await model.close()
  for (const { data } of [encoderHiddenStates, textEmbeds]) expect(data.every((v) => v === 0)).toBe(true)
})

it("a LoRA of its text encoder, by PEFT's names, reads as the weights do with it", async () => {
  const folder = edited({})
  const text = join(folder, "text_encoder")
  const shards = readdirSync(text).filter((name) => name.endsWith(".safetensors"))
  const weights = new Map(shards.flatMap((name) => Object.entries(tensorsIn(join(text, name)))))
  for (const name of [...shards, "model.safetensors.index.fp16.json"]) rmSync(join(text, name))

  const random = cpuGenerator(5)
  const rank = 3
  const tensors = new Map<string, Tensor>()
  for (const layer of [
    "encoder.layers.1.self_attention.query_key_value",
    "encoder.layers.2.mlp.dense_h_to_4h",
  ]) {
    const stored = toFloat32(weights.get(`${layer}.weight`)!)
    const [rows, columns] = stored.shape
    const [down, up] = [random.randn([rank, columns]), random.randn([rows, rank])]
    tensors.set(`base_model.model.${layer}.lora_A.weight`, down)
    tensors.set(`base_model.model.${layer}.lora_B.weight`, up)
    const merged = stored.data.map((value, i) => {
      const [row, column] = [Math.floor(i / columns), i % columns]
      let change = 0
      for (let r = 0; r < rank; r++) change += up.data[row * rank + r] * down.data[r * columns + column]
      return value + 0.8 * change
    })
    weights.set(`${layer}.weight`, float32(stored.shape, merged))
  }
  writeFileSync(join(text, "model.safetensors"), Buffer.concat(encodeSafetensors(weights)))
  const file = join(folder, "lora.safetensors")
  writeFileSync(file, Buffer.concat(encodeSafetensors(tensors)))

  const options = { device: "cpu", threads: 1 } as const
  const [plain, merged] = await Promise.all([load(diffusers, options), load(folder, options)])
  const adapted = await plain.with(lora(file, { scale: 0.8 }))
  const [own, given, expected] = await Promise.all(
    [plain, adapted, merged].map((one) => encodePrompt(one, "a cat")),
  )
  for (const name of ["encoderHiddenStates", "textEmbeds"]) {
    expect(relativeDifference(given[name], expected[name])).toBeLessThan(1e-5)
    expect(relativeDifference(given[name], own[name])).toBeGreaterThan(0.01)
  }
  await Promise.all([plain, adapted, merged].map((one) => one.close()))
})

describe("one sentence says what is wrong with a Kolors", () => {
  it.each<[string, Record<string, object>, typeof LimnError, string]>([
    [
      "whose text encoder is another's",
      { "unet/config.json": { encoder_hid_dim: 32 } },
      FormatError,
      "reads text 32 wide, and its text_encoder gives 24; use parts of one model.",
    ],
    [
      "whose text encoder is configured otherwise",
      { "text_encoder/config.json": { multi_query_group_num: 1 } },
      FormatError,
      "use the config.json that belongs to it",
    ],
    [
      "whose tokenizer knows more words",
      { "text_encoder/config.json": { seq_length: 77 } },
      FormatError,
      "ids in rows of 256, too many for its text_encoder",
    ],
  ])("%s", async (_, changes, kind, message) => {
    const loading = load(edited(changes), { device: "cpu" })
    await expect(loading).rejects.toThrow(kind)
    await expect(loading).rejects.toThrow(message)
  })

  it("without its tokenizer", async () => {
    const folder = edited({})
    rmSync(join(folder, "tokenizer/tokenizer.model"))
    const loading = load(folder, { device: "cpu" })
    await expect(loading).rejects.toThrow(LimnError)
    await expect(loading).rejects.toThrow(/has no tokenizer\.model in tokenizer or text_encoder; fetch/)
  })
})
