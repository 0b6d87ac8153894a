import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync, writeSync } from "node:fs"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { type Shape, sizeOf } from "../../src/ground/shape.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, int64, tensorFromBytes, toHalf } from "../../src/ground/tensor.ts"
import { autoencoderConfig } from "../../src/models/config/autoencoder.ts"
import { chatGlmConfig } from "../../src/models/config/chatglm.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { autoencoderParameters } from "../../src/models/parameters/autoencoder.ts"
import { chatGlmParameters } from "../../src/models/parameters/chatglm.ts"
import { clipTextParameters } from "../../src/models/parameters/clip-text.ts"
import type { ParameterSpec } from "../../src/models/parameters/module.ts"
import { unetParameters } from "../../src/models/parameters/unet.ts"
import { vocabFromMerges } from "../../src/tokenizers/clip-files.ts"
import { goldenFolder } from "./golden.ts"
import { clipBigG, clipL, sd14Autoencoder, sd14Unet, sdxlAutoencoder, sdxlUnet } from "./published-configs.ts"

type Tensors = ReadonlyMap<string, Tensor>

/** A row of the golden: which tensor of the file, in which shape there, holds which of diffusers', and how. */
export interface OriginalName {
  readonly theirs: string
  /** With its part before it. */
  readonly ours: string
  readonly shape: Shape
  /** "" as it is, "i/n" as the i-th of n blocks of rows, "T" transposed. */
  readonly how: string
}

/** Reads a golden of `reference/single_file_names.py`. */
export function readOriginalNames(name: string): readonly OriginalName[] {
  return gunzipSync(readFileSync(join(goldenFolder, `keys/${name}.txt.gz`)))
    .toString()
    .split("\n")
    .slice(0, -1)
    .map((line) => {
      const [theirs, ours, shape, how] = line.split("\t")
      return { theirs, ours, shape: JSON.parse(shape), how }
    })
}

/** A family of models, here with parts as deep as published and as narrow as can be. */
export interface ModelFamily {
  readonly configs: Readonly<Record<string, object>>
  readonly scheduler: object
  /** By the folder, the token that fills its rows. */
  readonly tokenizers: Readonly<Record<string, string>>
  readonly originalNames: readonly OriginalName[]
  /** What a file holds beside the tensors of its golden. */
  readonly besides: (parts: Readonly<Record<string, Tensors>>) => Tensors
}

const END = "<|endoftext|>"
const noise = {
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  num_train_timesteps: 1000,
}
const narrowText = { hidden_size: 64, intermediate_size: 96, num_attention_heads: 1, num_hidden_layers: 2 }
const vae = { block_out_channels: [32, 64, 96, 96], sample_size: 64 }
const positions = int64([1, 77], [...Array(77).keys()])

export const tinyStableDiffusion1: ModelFamily = {
  configs: {
    unet: { ...sd14Unet, block_out_channels: [32, 64, 96, 96], cross_attention_dim: 64, sample_size: 8 },
    vae: { ...sd14Autoencoder, ...vae },
    text_encoder: { ...clipL, ...narrowText },
  },
  scheduler: {
    ...noise,
    _class_name: "PNDMScheduler",
    set_alpha_to_one: false,
    skip_prk_steps: true,
    steps_offset: 1,
  },
  tokenizers: { tokenizer: END },
  originalNames: readOriginalNames("ldm_sd14"),
  besides({ text_encoder }) {
    const prefix = "cond_stage_model.transformer."
    return new Map<string, Tensor>([
      ...[...text_encoder].map(([name, tensor]) => [`${prefix}${name}`, tensor] as const),
      [`${prefix}text_model.embeddings.position_ids`, positions],
      ["betas", float32([2], [0.1, 0.2])],
    ])
  },
}

/** The same for masks: its U-Net reads nine channels. */
export const tinyInpainting: ModelFamily = {
  ...tinyStableDiffusion1,
  configs: {
    ...tinyStableDiffusion1.configs,
    unet: { ...tinyStableDiffusion1.configs.unet, in_channels: 9 },
  },
}

export const tinyStableDiffusionXl: ModelFamily = {
  configs: {
    unet: {
      ...sdxlUnet,
      attention_head_dim: [1, 1, 1],
      block_out_channels: [64, 64, 64],
      cross_attention_dim: 128,
      projection_class_embeddings_input_dim: 48 + 6 * 256,
      sample_size: 8,
    },
    vae: { ...sdxlAutoencoder, ...vae },
    text_encoder: { ...clipL, ...narrowText },
    // Not as wide as its projection, so that a matrix cannot stand for its transpose.
    text_encoder_2: { ...clipBigG, ...narrowText, num_hidden_layers: 3, projection_dim: 48 },
  },
  scheduler: {
    ...noise,
    _class_name: "EulerDiscreteScheduler",
    steps_offset: 1,
    timestep_spacing: "leading",
  },
  tokenizers: { tokenizer: END, tokenizer_2: "!" },
  originalNames: readOriginalNames("sgm_sdxl"),
  besides: () =>
    new Map<string, Tensor>([
      ["conditioner.embedders.0.transformer.text_model.embeddings.position_ids", positions],
      ["conditioner.embedders.1.model.logit_scale", float32([], [4.6])],
      ["denoiser.sigmas", float32([2], [0.1, 0.2])],
    ]),
}

/** A model of random numbers. */
export interface WholeModel {
  readonly family: ModelFamily
  /** The tensors of each part by diffusers' names, all of them drawn, so that none can stand for another. */
  readonly parts: Readonly<Record<string, Tensors>>
}

/** Every tensor of a part, whichever it is. */
export function specsOf(part: string, config: object): ParameterSpec[] {
  if ("model_type" in config && config.model_type === "chatglm")
    return chatGlmParameters(chatGlmConfig(config, part))
  if (part === "unet") return unetParameters(unetConfig(config, part))
  if (part === "vae") return autoencoderParameters(autoencoderConfig(config, part))
  return clipTextParameters(clipTextConfig(config, part))
}

/** How many normal numbers a model is made of. A prime, so that no row of a matrix is another's. */
const poolSize = 1_000_003

/** Draws a model of a family: each tensor another stretch of a million numbers, since drawing all takes seconds. */
export function tinyModel(seed: number, family = tinyStableDiffusion1): WholeModel {
  const random = cpuGenerator(seed)
  const pool = random.randn([poolSize]).data.map((z) => 0.1 * z)
  const drawn = (specs: readonly ParameterSpec[]): Tensors =>
    new Map(
      specs.map(({ name, shape }) => {
        const values = stretch(pool, Number(random.randint(0, poolSize, [1]).data[0]), sizeOf(shape))
        return [name, float32(shape, /norm\d?\.weight$/.test(name) ? values.map((z) => 1 + z) : values)]
      }),
    )
  const parts = Object.entries(family.configs).map(([part, config]) => [part, drawn(specsOf(part, config))])
  return { family, parts: Object.fromEntries(parts) }
}

/** `count` numbers from `start` on, around and around. */
function stretch(pool: Float32Array, start: number, count: number): Float32Array {
  const out = new Float32Array(count)
  for (let done = 0; done < count; ) {
    const piece = pool.subarray((start + done) % pool.length).subarray(0, count - done)
    out.set(piece, done)
    done += piece.length
  }
  return out
}

/** The same model rounded to a half type. */
export function rounded({ family, parts }: WholeModel, dtype: "float16" | "bfloat16"): WholeModel {
  const half = (tensors: Tensors): Tensors =>
    new Map([...tensors].map(([name, t]) => [name, toHalf(t as Tensor<"float32">, dtype)]))
  return {
    family,
    parts: Object.fromEntries(Object.entries(parts).map(([part, tensors]) => [part, half(tensors)])),
  }
}

/** All tensors by the names, and in the shapes, of the original file, by diffusers' own account of them. */
export function inOneFile({ family, parts }: WholeModel): Map<string, Tensor> {
  const blocks = new Map<string, Tensor[]>()
  for (const { theirs, ours, shape, how } of family.originalNames) {
    const [part, ...name] = ours.split(".")
    const tensor = parts[part].get(name.join("."))
    // Text encoders here have fewer layers.
    if (tensor === undefined) continue
    const convolution = shape.length === 4 && tensor.shape.length === 2
    const piece = how === "T" ? turned(tensor) : tensor
    const index = how.includes("/") ? Number(how.split("/")[0]) : 0
    const held = blocks.get(theirs) ?? []
    held[index] = convolution ? { ...piece, shape: [...piece.shape, 1, 1] } : piece
    blocks.set(theirs, held)
  }
  const joined = [...blocks].map(
    ([name, held]) => [name, held.length === 1 ? held[0] : stacked(held)] as const,
  )
  return new Map([...joined, ...family.besides(parts)])
}

function bytesOf({ data }: Tensor): Uint8Array {
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength)
}

/** One above the other. */
function stacked(tensors: readonly Tensor[]): Tensor {
  const [{ dtype, shape }] = tensors
  return tensorFromBytes(
    dtype,
    [shape[0] * tensors.length, ...shape.slice(1)],
    Buffer.concat(tensors.map(bytesOf)),
  )
}

/** Column after column. */
function turned({ dtype, shape: [rows, columns], data }: Tensor): Tensor {
  const out = data.slice()
  for (let i = 0; i < out.length; i++) out[i] = data[(i % rows) * columns + Math.floor(i / rows)]
  return { dtype, shape: [columns, rows], data: out }
}

/** The same model as a folder in diffusers' layout, its parts' weights as `encode` writes them under `names`. */
export function writeFolder(
  folder: string,
  { family, parts }: WholeModel,
  {
    ending = "safetensors",
    encode = (tensors: Tensors): readonly Uint8Array[] => encodeSafetensors(tensors),
  } = {},
): void {
  const writeJson = (name: string, value: unknown) => writeFileSync(join(folder, name), JSON.stringify(value))
  const listed = [...Object.keys(family.configs), ...Object.keys(family.tokenizers), "scheduler"]
  for (const part of listed) mkdirSync(join(folder, part), { recursive: true })
  for (const [part, config] of Object.entries(family.configs)) {
    const text = ending === "bin" ? "pytorch_model" : "model"
    const stem = part.startsWith("text") ? text : "diffusion_pytorch_model"
    writeJson(`${part}/config.json`, config)
    writePieces(join(folder, part, `${stem}.${ending}`), encode(parts[part]))
  }
  writeTokenizers(folder, family.tokenizers)
  writeJson("scheduler/scheduler_config.json", family.scheduler)
  writeJson("model_index.json", Object.fromEntries(listed.map((part) => [part, ["library", "class"]])))
}

/** One after the other, since the parts of a large model are more than one array can hold. */
function writePieces(path: string, pieces: readonly Uint8Array[]): void {
  const file = openSync(path, "w")
  try {
    for (const piece of pieces) writeSync(file, piece)
  } finally {
    closeSync(file)
  }
}

/** CLIP's published tokenizer in each of these folders, padding with the token given for it. */
function writeTokenizers(folder: string, tokenizers: ModelFamily["tokenizers"]): void {
  const merges = readFileSync(join(import.meta.dirname, "../../models/clip-tokenizer/merges.txt"), "utf8")
  const mark = (content: string) => ({
    content,
    lstrip: false,
    normalized: true,
    rstrip: false,
    single_word: false,
  })
  const [start, end] = [mark("<|startoftext|>"), mark(END)]
  for (const [name, pad_token] of Object.entries(tokenizers)) {
    const files = {
      "merges.txt": merges,
      "vocab.json": JSON.stringify(vocabFromMerges(merges)),
      "special_tokens_map.json": JSON.stringify({
        bos_token: start,
        eos_token: end,
        pad_token,
        unk_token: end,
      }),
    }
    for (const [file, content] of Object.entries(files)) writeFileSync(join(folder, name, file), content)
  }
}
