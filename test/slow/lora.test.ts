import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { readPngText } from "../../src/formats/png-text.ts"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { load } from "../../src/pipelines/load.ts"
import { lora } from "../../src/pipelines/lora.ts"
import type { Lora, Model } from "../../src/pipelines/model.ts"
import { readPictureSettings } from "../../src/pipelines/picture-settings.ts"
import type { TextToImageOptions } from "../../src/pipelines/text-to-image.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "../unit/golden.ts"
import type { TextCase } from "./same-pictures.ts"
import { expectNear, textOptions } from "./same-pictures.ts"

interface Case extends TextCase {
  model: string
  loras: { file: string; scale: number }[]
  seed: number
}

const cases = goldenJson<Case[]>("lora/cases.json")
const fileOf = (name: string) => join(goldenFolder, "lora", `${name}.safetensors`)

const optionsOf = (given: Case): TextToImageOptions => ({ ...textOptions(given), seed: given.seed })

async function opened(folder: string, loras: readonly Lora[]): Promise<Model> {
  const base = await load(join(goldenFolder, folder, "model"), { device: "cpu", threads: 1 })
  const adapted = await base.with(...loras)
  await base.close()
  return adapted
}

async function drawn(model: Model, given: Case) {
  const { images, latents, settings } = await textToImage(model, optionsOf(given))
  return { image: images[0], pixels: images[0].pixels.data, latents, settings }
}

describe("LoRAs against diffusers with PEFT", () => {
  test.each(cases)("$name", async (given) => {
    const golden = goldenTensors(`lora/case-${given.name}.safetensors`)
    const model = await opened(
      given.model,
      given.loras.map(({ file, scale }) => lora(fileOf(file), { scale })),
    )
    const { image, latents, settings } = await drawn(model, given)
    await model.close()
    expect(relativeDifference(latents, golden[`latents.${given.steps - 1}`])).toBeLessThan(1e-3)
    expectNear([image], golden.images)
    const loras = given.loras.map(({ file, scale }) => ({ name: file, scale }))
    expect(settings.loras).toEqual(loras)
    for (const [keyword, text] of Object.entries(readPngText(image.toPng())))
      expect(readPictureSettings({ [keyword]: text })).toMatchObject({
        loras,
        options: { prompt: given.prompt },
      })
  })
})

describe("a LoRA by other names", () => {
  const folder = mkdtempSync(join(tmpdir(), "limn-lora-"))
  afterAll(() => rmSync(folder, { recursive: true }))
  const [one] = cases
  const ink = goldenTensors("lora/ink.safetensors")
  const alphaOf = (key: string) => (key.startsWith("text") ? 3 : /attn2\.to_q/.test(key) ? 1 : 5)
  let expected: Uint8Array
  beforeAll(async () => {
    const model = await opened("pipeline", [lora(fileOf("ink"))])
    expected = (await drawn(model, one)).pixels as Uint8Array
    await model.close()
  })

  /** The layer, and `down` or `up`, of a name of PEFT's or diffusers'. */
  const parts = (key: string) => {
    const [, layer, side] = /^(.*)\.lora_(?:linear_layer\.)?(A|B|down|up)\.weight$/.exec(key)!
    return { layer, side: { A: "down", B: "up" }[side] ?? side }
  }
  const kohyaLayer = (layer: string) =>
    layer
      .replace(/^unet\./, "lora_unet_")
      .replace(/^text_encoder\./, "lora_te_text_model.")
      .replaceAll(".", "_")
  const forms: Record<string, (key: string) => { name: string; alpha: string }> = {
    kohya: (key) => {
      const { layer, side } = parts(key)
      return { name: `${kohyaLayer(layer)}.lora_${side}.weight`, alpha: `${kohyaLayer(layer)}.alpha` }
    },
    diffusers: (key) => {
      const { layer, side } = parts(key)
      const word = layer.startsWith("text") ? "lora_linear_layer" : "lora"
      return { name: `${layer}.${word}.${side}.weight`, alpha: `${layer}.alpha` }
    },
    "attention processors": (key) => {
      const { layer, side } = parts(key)
      const processor = layer.replace(/\.(to_[qkv]|to_out)(\.0)?$/, ".processor.$1_lora")
      const name = processor === layer ? `${layer}.lora.${side}.weight` : `${processor}.${side}.weight`
      return { name: name.replace(/^unet\./, ""), alpha: `${layer}.alpha` }
    },
  }
  test.each(Object.keys(forms))("%s: the same picture bit for bit", async (form) => {
    const tensors: Record<string, Tensor> = {}
    for (const [key, tensor] of Object.entries(ink)) {
      const { name, alpha } = forms[form](key)
      tensors[name] = tensor
      tensors[alpha] = float32([], [alphaOf(key)])
    }
    const file = join(folder, `${form}.safetensors`)
    writeFileSync(file, Buffer.concat(encodeSafetensors(tensors)))
    const model = await opened("pipeline", [lora(file)])
    const { pixels } = await drawn(model, one)
    await model.close()
    expect(pixels).toEqual(expected)
  })
})

describe("model.with", () => {
  test("leaves the old model as it was, shares its graphs, and takes a new scale", async () => {
    const [one] = cases
    const base = await load(join(goldenFolder, "pipeline/model"), { device: "cpu", threads: 1 })
    const plain = await drawn(base, one)
    expect(plain.settings.loras).toBeUndefined()
    const inked = await base.with(lora(fileOf("ink")))
    const full = await drawn(inked, one)
    expect(full.pixels).not.toEqual(plain.pixels)
    expect((await drawn(base, one)).pixels).toEqual(plain.pixels)

    const none = await inked.with(lora(fileOf("ink"), { scale: 0 }))
    expect(none.loras.map(({ scale }) => scale)).toEqual([0])
    expect(relativeDifference((await drawn(none, one)).latents, plain.latents)).toBeLessThan(1e-4)
    // Graphs that the two share outlive the one that opened them.
    await inked.close()
    const again = await none.with(lora(fileOf("ink"), { scale: 1 }))
    await none.close()
    expect((await drawn(again, one)).pixels).toEqual(full.pixels)
    await expect(drawn(inked, one)).rejects.toThrow("The model is closed")
    await expect(inked.with(lora(fileOf("wash")))).rejects.toThrow("The model is closed")
    await Promise.all([again.close(), base.close()])
  })

  test("says which words of a LoRA it does not read, where a prompt uses them", async () => {
    const folder = mkdtempSync(join(tmpdir(), "limn-words-"))
    const file = join(folder, "taught.safetensors")
    const taught = { ...goldenTensors("lora/wash.safetensors"), "<s1>": float32([24], new Float32Array(24)) }
    writeFileSync(file, Buffer.concat(encodeSafetensors(taught)))
    const model = await opened("pipeline", [lora(file)])
    const warningsOf = async (prompt: string) =>
      (await textToImage(model, { prompt, steps: 1, guidanceScale: 1 })).warnings
    expect(await warningsOf("a cat")).toEqual([])
    expect(await warningsOf("a cat, <s1>")).toEqual([
      `limn does not read the words that ${file} teaches yet; it took <s1> as plain text.`,
    ])
    await model.close()
    rmSync(folder, { recursive: true })
  })

  test("half precision agrees with float32", async () => {
    const [, , dora] = cases
    const golden = goldenTensors("lora/case-dora.safetensors")
    const base = await load(join(goldenFolder, "pipeline/model"), {
      device: "cpu",
      threads: 1,
      precision: "fp16",
    })
    const model = await base.with(lora(fileOf("dora")))
    const { latents } = await drawn(model, dora)
    await Promise.all([model.close(), base.close()])
    expect(relativeDifference(latents, golden["latents.2"])).toBeLessThan(0.05)
  })
})
