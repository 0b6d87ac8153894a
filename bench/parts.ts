import { join, resolve } from "node:path"
import { cpuGenerator } from "../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../src/ground/tensor.ts"
import { float32, int64 } from "../src/ground/tensor.ts"
import { chatGlmEncoder } from "../src/pipelines/chatglm-encoder.ts"
import { openComponent } from "../src/pipelines/component.ts"
import type { LoadOptions } from "../src/pipelines/load.ts"
import { load } from "../src/pipelines/load.ts"
import type { Model } from "../src/pipelines/model.ts"
import type { Network } from "../src/pipelines/network.ts"
import { fullChatGlm, fullStableDiffusion1, fullTurbo, writeFullModel } from "../test/full/full-models.ts"
import type { ModelFamily } from "../test/unit/tiny-stable-diffusion.ts"

/** The models that are measured, at full size and of random float16 weights. */
export const families = {
  "stable-diffusion-1": fullStableDiffusion1,
  "sdxl-turbo": fullTurbo,
  "kolors-text": fullChatGlm,
} satisfies Record<string, ModelFamily>
export type ModelName = keyof typeof families

/** Writes a model below the folder, unless it is there, and says where. */
export function modelFolder(root: string, name: ModelName): string {
  const folder = resolve(root, name)
  writeFullModel(folder, families[name])
  return folder
}

/** What a model is loaded with to run in one way; of Kolors the text encoder is what has several. */
export function loadOptions(name: ModelName, precision: "fp32" | "int8" | "int4"): LoadOptions {
  if (name !== "kolors-text") return { device: "cpu", precision: precision as "fp32" | "int8" }
  return { device: "cpu", textEncoder: precision === "fp32" ? "float32" : precision }
}

/** Rounds a model's weights to integers, unless they are, so that no run that is measured does. */
export async function roundOnce(folder: string, options: LoadOptions): Promise<void> {
  const model = await load(folder, options)
  await model.close()
}

/** Kolors' text encoder with all of its layers in memory at once, of which as loaded few are. */
export async function residentText({ path, textEncoders: [encoder] }: Model): Promise<Network> {
  if (encoder.kind !== "chatglm") throw new Error(`${path} reads no texts in blocks.`)
  const files = await openComponent(join(path, "text_encoder"))
  const { kept, tokenizer } = encoder
  const running = { device: "cpu", precision: "fp32" } as const
  const whole = { textEncoder: kept, blockBytes: Number.MAX_SAFE_INTEGER }
  return (await chatGlmEncoder({ files, tokenizer }, running, whole)).network
}

/** The networks of a model that are measured. */
export const partNames = ["unet", "decoder", "encoder", "text"] as const
export type Part = (typeof partNames)[number]

/** Whether int8 rounds a part. */
export function isRounded(part: Part): part is "unet" | "decoder" {
  return part === "unet" || part === "decoder"
}

/** The text encoder that is measured is the model's largest. */
export function networkOf(part: Part, { unet, decoder, encoder, textEncoders }: Model): Network {
  return { unet, decoder, encoder, text: textEncoders.at(-1)!.network }[part]
}

/** What a part is fed for pictures of such a size. */
export function feedsOf(
  part: Part,
  { textEncoders }: Model,
  { pixels = 512, batch = 1 }: { readonly pixels?: number; readonly batch?: number } = {},
): Readonly<Record<string, Tensor>> {
  const side = pixels / 8
  const normals = (...shape: number[]) => cpuGenerator(shape.length).randn(shape)
  const widths = textEncoders.map(({ hiddenSize }) => hiddenSize!)
  if (part === "decoder") return { latents: normals(batch, 4, side, side) }
  if (part === "encoder") return { image: normals(batch, 3, pixels, pixels) }
  if (part === "text" && textEncoders[0].kind === "chatglm") {
    const [tokens, padding] = [256, 40]
    const row = (of: (place: number) => number) =>
      int64(
        [1, tokens],
        Array.from({ length: tokens }, (_, k) => (k < padding ? 0 : of(k - padding))),
      )
    return {
      ids: row((place) => 3 + ((place * 331) % 60000)),
      attentionMask: row(() => 1),
      positionIds: row((place) => place),
    }
  }
  if (part === "text") {
    const ids = int64(
      [batch, 77],
      Array.from({ length: 77 * batch }, (_, k) => (k * 331) % 40000),
    )
    return textEncoders.length > 1 ? { ids, end: int64([batch], new Array(batch).fill(40)) } : { ids }
  }
  const width = widths.reduce((sum, each) => sum + each, 0)
  const feeds = {
    sample: normals(batch, 4, side, side),
    timestep: float32([batch], new Array(batch).fill(500)),
    encoderHiddenStates: normals(batch, 77, width),
  }
  if (textEncoders.length === 1) return feeds
  const size = Array.from({ length: batch }, () => [pixels, pixels, 0, 0, pixels, pixels]).flat()
  return { ...feeds, textEmbeds: normals(batch, 1280), timeIds: float32([batch, 6], size) }
}
