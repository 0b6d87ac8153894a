import { mkdirSync, readFileSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { gunzipSync } from "node:zlib"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, int64 } from "../../src/ground/tensor.ts"
import { autoencoderConfig } from "../../src/models/config/autoencoder.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { autoencoderParameters } from "../../src/models/parameters/autoencoder.ts"
import { clipTextParameters } from "../../src/models/parameters/clip-text.ts"
import type { ParameterSpec } from "../../src/models/parameters/module.ts"
import { unetParameters } from "../../src/models/parameters/unet.ts"
import { vocabFromMerges } from "../../src/tokenizers/clip-files.ts"
import { goldenFolder } from "./golden.ts"
import { clipL, sd14Autoencoder, sd14Unet } from "./published-configs.ts"

/** A Stable Diffusion 1.x of random numbers: as deep as the published one, and as narrow as can be. */

const configs = {
  unet: { ...sd14Unet, block_out_channels: [32, 64, 96, 96], cross_attention_dim: 64, sample_size: 8 },
  vae: { ...sd14Autoencoder, block_out_channels: [32, 64, 96, 96], sample_size: 64 },
  text_encoder: {
    ...clipL,
    hidden_size: 64,
    intermediate_size: 96,
    num_attention_heads: 1,
    num_hidden_layers: 2,
  },
}
type Part = keyof typeof configs
type Tensors = ReadonlyMap<string, Tensor>

/** Rows of the golden: the name in the original file, diffusers' with its part, the published shape in the file. */
export const originalNames = gunzipSync(readFileSync(join(goldenFolder, "keys/ldm_sd14.txt.gz")))
  .toString()
  .trim()
  .split("\n")
  .map((line) => line.split("\t") as [theirs: string, ours: string, shape: string])

/** The tensors of each part by diffusers' names, all of them drawn, so that none can stand for another. */
export function tinyModel(seed: number): Readonly<Record<Part, Tensors>> {
  const random = cpuGenerator(seed)
  const drawn = (specs: readonly ParameterSpec[]): Tensors =>
    new Map(
      specs.map(({ name, shape }) => {
        const center = /norm\d?\.weight$/.test(name) ? 1 : 0
        return [
          name,
          float32(
            shape,
            random.randn(shape).data.map((z) => center + 0.1 * z),
          ),
        ]
      }),
    )
  return {
    unet: drawn(unetParameters(unetConfig(configs.unet, "unet"))),
    vae: drawn(autoencoderParameters(autoencoderConfig(configs.vae, "vae"))),
    text_encoder: drawn(clipTextParameters(clipTextConfig(configs.text_encoder, "text"))),
  }
}

/** All tensors by the names, and in the shapes, of the original file, by diffusers' own account of them. */
export function inOneFile({ unet, vae, text_encoder }: Readonly<Record<Part, Tensors>>): Map<string, Tensor> {
  const parts: Readonly<Record<string, Tensors>> = { unet, vae }
  const one = new Map<string, Tensor>()
  for (const [theirs, ours, shape] of originalNames) {
    const [part, ...name] = ours.split(".")
    const tensor = parts[part].get(name.join("."))!
    const convolution = JSON.parse(shape).length === 4 && tensor.shape.length === 2
    one.set(theirs, convolution ? { ...tensor, shape: [...tensor.shape, 1, 1] } : tensor)
  }
  for (const [name, tensor] of text_encoder) one.set(`cond_stage_model.transformer.${name}`, tensor)
  const positions = int64([1, 77], [...Array(77).keys()])
  one.set("cond_stage_model.transformer.text_model.embeddings.position_ids", positions)
  one.set("betas", float32([2], [0.1, 0.2]))
  return one
}

/** The same model as a folder in diffusers' layout, its parts' weights as `encode` writes them under `names`. */
export function writeFolder(
  folder: string,
  model: Readonly<Record<Part, Tensors>>,
  {
    ending = "safetensors",
    encode = (tensors: Tensors) => Buffer.concat(encodeSafetensors(tensors)) as Uint8Array,
  } = {},
): void {
  const write = (name: string, content: string | Uint8Array) => writeFileSync(join(folder, name), content)
  const writeJson = (name: string, value: unknown) => write(name, JSON.stringify(value))
  for (const part of [...Object.keys(configs), "tokenizer", "scheduler"])
    mkdirSync(join(folder, part), { recursive: true })
  const stems = {
    unet: "diffusion_pytorch_model",
    vae: "diffusion_pytorch_model",
    text_encoder: ending === "bin" ? "pytorch_model" : "model",
  }
  for (const part of Object.keys(configs) as Part[]) {
    writeJson(`${part}/config.json`, configs[part])
    write(`${part}/${stems[part]}.${ending}`, encode(model[part]))
  }
  const merges = readFileSync(join(import.meta.dirname, "../../models/clip-tokenizer/merges.txt"), "utf8")
  write("tokenizer/merges.txt", merges)
  writeJson("tokenizer/vocab.json", vocabFromMerges(merges))
  const mark = (content: string) => ({
    content,
    lstrip: false,
    normalized: true,
    rstrip: false,
    single_word: false,
  })
  const [start, end] = [mark("<|startoftext|>"), mark("<|endoftext|>")]
  const special = { bos_token: start, eos_token: end, pad_token: end.content, unk_token: end }
  writeJson("tokenizer/special_tokens_map.json", special)
  const noise = {
    beta_end: 0.012,
    beta_schedule: "scaled_linear",
    beta_start: 0.00085,
    num_train_timesteps: 1000,
  }
  const walk = { set_alpha_to_one: false, skip_prk_steps: true, steps_offset: 1 }
  writeJson("scheduler/scheduler_config.json", { _class_name: "PNDMScheduler", ...noise, ...walk })
  const listed = ["unet", "vae", "text_encoder", "tokenizer", "scheduler"].map((part) => [
    part,
    ["library", "class"],
  ])
  writeJson("model_index.json", Object.fromEntries(listed))
}
