import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import { pixels } from "../../src/ground/image.ts"
import { imageToImage } from "../../src/pipelines/image-to-image.ts"
import { load } from "../../src/pipelines/load.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder } from "./golden.ts"

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "limn-load-"))
  cpSync(join(goldenFolder, "pipeline/model"), folder, { recursive: true })
})
afterEach(() => rmSync(folder, { recursive: true }))

/** Changes keys of a JSON file of the model. */
function edit(file: string, keys: Record<string, unknown>): void {
  const path = join(folder, file)
  writeFileSync(path, JSON.stringify({ ...JSON.parse(readFileSync(path, "utf8")), ...keys }))
}

const refuses = async (kind: typeof LimnError, message: string | RegExp) => {
  const loading = load(folder, { device: "cpu" })
  await expect(loading).rejects.toThrow(kind)
  await expect(loading).rejects.toThrow(message)
}

test("load reads a folder's configurations and no weight", async () => {
  const model = await load(folder, { device: "cpu" })
  expect(model).toMatchObject({
    path: folder,
    device: "cpu",
    precision: "fp32",
    latentPixels: 8,
    size: [64, 64],
    unetConfig: { blockOutChannels: [8, 16, 16] },
    vaeConfig: { latentChannels: 4 },
    schedulerConfig: { _class_name: "PNDMScheduler" },
    textEncoders: [{ config: { hiddenSize: 24 }, tokenizer: { maxLength: 77 } }],
  })
  await model.close()
})

test("load reads what a model recommends, and takes diffusers' defaults for the rest", async () => {
  expect((await load(folder, { device: "cpu" })).defaults).toEqual({ steps: 50, guidanceScale: 7.5 })
  writeFileSync(join(folder, "limn.json"), JSON.stringify({ steps: 20 }))
  expect((await load(folder, { device: "cpu" })).defaults).toEqual({ steps: 20, guidanceScale: 7.5 })
})

test("load reads how a model's latents show as colours", async () => {
  const preview = Array.from({ length: 5 }, (_, row) => [0.1 * row, 0, -0.1])
  writeFileSync(join(folder, "limn.json"), JSON.stringify({ preview }))
  expect((await load(folder, { device: "cpu" })).preview).toEqual(preview)
})

test("load takes a unet that also sees masks, which does not draw from text alone", async () => {
  rmSync(join(folder, "unet"), { recursive: true })
  cpSync(join(goldenFolder, "given-pictures/unet-nine"), join(folder, "unet"), { recursive: true })
  const model = await load(folder, { device: "cpu" })
  const image = pixels(8, 8, 3, new Uint8Array(192))
  for (const drawing of [textToImage(model, { prompt: "" }), imageToImage(model, { prompt: "", image })])
    await expect(drawing).rejects.toThrow(
      /takes 9 channels, 4 of them latents: .* give it one and a mask \(inpaint, or --image and --mask\)\.$/,
    )
  await model.close()
})

describe("load says in one sentence what is wrong with", () => {
  test.each([
    [{ steps: 0 }, /limn\.json is wrong in "steps": .*; mend it or take it away\.$/],
    [{ stepz: 1 }, /limn\.json is wrong: .*stepz.*; mend it or take it away\.$/],
    [{ preview: [[1, 2]] }, /limn\.json is wrong in "preview.0": .*; mend it or take it away\.$/],
    [{ preview: [[1, 2, 3]] }, /The "preview" in the limn\.json of .* has 1 rows, and its latents need 5,/],
  ])("recommendations of %j", async (recommended, message) => {
    writeFileSync(join(folder, "limn.json"), JSON.stringify(recommended))
    await refuses(FormatError, message)
  })
  test.each(["no/such/folder", "nowhere", "../nowhere", "./nowhere/at-all"])("the path %s", async (path) => {
    await expect(load(path)).rejects.toThrow(UsageError)
    await expect(load(path)).rejects.toThrow(
      `There is no model at ${path}; give the folder of one in diffusers' layout, or its name on the Hub, as org/name.`,
    )
  })
  test.each(["webgpu", "cuda"] as const)("int8 on %s", async (device) => {
    await expect(load(folder, { device, precision: "int8" })).rejects.toThrow(UsageError)
    await expect(load(folder, { device, precision: "int8" })).rejects.toThrow(
      `The precision int8 is for the CPU; ${device} has fp32 and fp16.`,
    )
  })
  test("a folder of something else", async () => {
    rmSync(join(folder, "model_index.json"))
    await refuses(
      UsageError,
      "has no model_index.json; give the folder of a whole model in diffusers' layout.",
    )
  })
  test("an index that is no object", async () => {
    writeFileSync(join(folder, "model_index.json"), "3")
    await refuses(FormatError, "model_index.json is not a JSON object; fetch it again.")
  })
  test("a model of another family", async () => {
    edit("model_index.json", { text_encoder_3: ["transformers", "T5EncoderModel"] })
    await refuses(
      LimnError,
      /describes a model of .*text_encoder_3.*; limn runs Stable Diffusion 1.x \(.*\), Stable Diffusion XL \(.*\) and Kolors \(/,
    )
  })
  test("a part that is missing from the index", async () => {
    edit("model_index.json", { vae: [null, null] })
    await refuses(LimnError, /describes a model of .*; limn runs Stable Diffusion 1.x \(.*vae.*\), /)
  })
  test("a part that is missing from the folder", async () => {
    rmSync(join(folder, "unet"), { recursive: true })
    await refuses(LimnError, /There is no .*unet.config\.json/)
  })
  test("a tokenizer without its vocabulary", async () => {
    rmSync(join(folder, "tokenizer/vocab.json"))
    await refuses(LimnError, /Cannot read .*vocab\.json/)
  })
  test("a unet of another width than its config.json", async () => {
    edit("unet/config.json", { block_out_channels: [8, 16, 24] })
    await refuses(FormatError, /unet/)
  })
  test("parts of different models", async () => {
    cpSync(join(goldenFolder, "clip-text/one-head-one-layer"), join(folder, "text_encoder"), {
      recursive: true,
    })
    await refuses(FormatError, "reads text 24 wide, and its text_encoder gives 16; use parts of one model.")
  })
  test("a unet for latents of another autoencoder", async () => {
    edit("vae/config.json", { latent_channels: 3 })
    await refuses(
      LimnError,
      "takes 4 channels and gives 4, and its vae has 3; limn cannot make pictures with",
    )
  })
  test("an SDXL whose second text encoder is of another width than its unet was taught with", async () => {
    cpSync(join(goldenFolder, "pipeline-xl/model"), folder, { recursive: true })
    edit("unet/config.json", { projection_class_embeddings_input_dim: 24 + 6 * 8 })
    await refuses(
      FormatError,
      "needs a pooled text 24 wide, and its text encoders give 20; use parts of one model.",
    )
  })
  test("a tokenizer of more words than the text encoder knows", async () => {
    const vocab = JSON.parse(readFileSync(join(folder, "tokenizer/vocab.json"), "utf8"))
    edit("tokenizer/vocab.json", { more: Object.keys(vocab).length })
    await refuses(FormatError, /has \d+ ids in rows of 77, too many for its text_encoder/)
  })
  test("a file in place of a folder", async () => {
    const file = join(folder, "model_index.json")
    await expect(load(file)).rejects.toThrow(UsageError)
    mkdirSync(join(folder, "empty"))
    await expect(load(join(folder, "empty"))).rejects.toThrow("has no model_index.json")
  })
})
