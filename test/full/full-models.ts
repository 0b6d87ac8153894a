import { existsSync, mkdirSync } from "node:fs"
import { join } from "node:path"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { sizeOf } from "../../src/ground/shape.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, toHalf } from "../../src/ground/tensor.ts"
import type { ParameterSpec } from "../../src/models/parameters/module.ts"
import * as published from "../unit/published-configs.ts"
import { tinyKolors, writeKolors } from "../unit/tiny-kolors.ts"
import type { ModelFamily } from "../unit/tiny-stable-diffusion.ts"
import {
  specsOf,
  tinyStableDiffusion1,
  tinyStableDiffusionXl,
  writeFolder,
} from "../unit/tiny-stable-diffusion.ts"

/** Whole models of the published sizes with random float16 weights, as folders in diffusers' layout. */

const turboScheduler = {
  ...tinyStableDiffusionXl.scheduler,
  _class_name: "EulerAncestralDiscreteScheduler",
  timestep_spacing: "trailing",
}

/** Stable Diffusion 1.4: 1,066,235,307 parameters, 2.1 GB. */
export const fullStableDiffusion1: ModelFamily = {
  ...tinyStableDiffusion1,
  configs: { unet: published.sd14Unet, vae: published.sd14Autoencoder, text_encoder: published.clipL },
}

/** SDXL-Turbo: 3,468,837,867 parameters, 6.9 GB. */
export const fullTurbo: ModelFamily = {
  ...tinyStableDiffusionXl,
  configs: {
    unet: { ...published.sdxlUnet, sample_size: 64 },
    vae: published.sdxlAutoencoder,
    text_encoder: published.clipL,
    text_encoder_2: published.clipBigG,
  },
  scheduler: turboScheduler,
}

/** The same as narrow as can be, to see that the tests work. */
export const tinyTurbo: ModelFamily = { ...tinyStableDiffusionXl, scheduler: turboScheduler }

/** Kolors: 8,640,354,283 parameters, 17.3 GB. */
export const fullKolors: ModelFamily = {
  ...tinyKolors,
  configs: {
    unet: published.kolorsUnet,
    vae: published.sdxlAutoencoder,
    text_encoder: published.chatglm3,
  },
}

/** Kolors' text encoder, ChatGLM3, beside parts as narrow as can be: 5,977,241,600 parameters of its own, 12 GB. */
export const fullChatGlm: ModelFamily = {
  ...tinyKolors,
  configs: {
    ...tinyKolors.configs,
    unet: {
      ...tinyKolors.configs.unet,
      encoder_hid_dim: published.chatglm3.hidden_size,
      projection_class_embeddings_input_dim: published.chatglm3.hidden_size + 6 * 256,
    },
    text_encoder: published.chatglm3,
  },
}

/** How many numbers a family's model is. */
export function parameterCount({ configs }: ModelFamily): number {
  const specs = Object.entries(configs).flatMap(([part, config]) => specsOf(part, config))
  return specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0)
}

/** Writes a model of the family into the folder, unless it is there from an earlier run. */
export function writeFullModel(folder: string, family: ModelFamily): void {
  // Written last.
  if (existsSync(join(folder, "model_index.json"))) return
  mkdirSync(folder, { recursive: true })
  const draw = repeatedNormals()
  const parts = Object.entries(family.configs).map(([part, config]) => {
    const tensors = specsOf(part, config).map((spec) => [spec.name, draw(spec)] as const)
    return [part, new Map<string, Tensor>(tensors)] as const
  })
  const write = Object.keys(family.tokenizers).length > 0 ? writeFolder : writeKolors
  write(folder, { family, parts: Object.fromEntries(parts) })
}

/** As many numbers are drawn; a prime, so that what repeats falls in with no row of a tensor. */
const PERIOD = 1_048_573

/**
 * Draws tensors quickly and in little memory: each is a stretch of one long row of normals that repeats itself. Matrices
 * and kernels have about unit gain, their deviation rounded to a power of two so that few rows are kept; vectors are a
 * tenth of a normal beside the value that training begins with.
 */
function repeatedNormals(): (spec: ParameterSpec) => Tensor<"float16"> {
  const normals = cpuGenerator(0).randn([PERIOD]).data
  const rows = new Map<string, Uint16Array>()
  let drawn = 0
  return ({ shape, init }) => {
    const matrix = shape.length > 1
    const center = !matrix && init.kind === "constant" ? init.value : 0
    const deviation = matrix ? 2 ** Math.round(-Math.log2(sizeOf(shape.slice(1))) / 2) : 0.1
    const key = `${center} ${deviation}`
    const start = (drawn++ * 7919) % PERIOD
    const end = start + sizeOf(shape)
    const kept = rows.get(key)
    const row = kept !== undefined && kept.length >= end ? kept : repeated(normals, end, center, deviation)
    rows.set(key, row)
    return { dtype: "float16", shape, data: row.subarray(start, end) }
  }
}

function repeated(normals: Float32Array, length: number, center: number, deviation: number): Uint16Array {
  const values = normals.map((z) => center + deviation * z)
  const { data } = toHalf(float32([values.length], values), "float16")
  const row = new Uint16Array(Math.ceil(length / data.length) * data.length)
  for (let at = 0; at < row.length; at += data.length) row.set(data, at)
  return row
}
