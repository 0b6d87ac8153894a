import { cpSync, readFileSync } from "node:fs"
import { join } from "node:path"
import { goldenFolder } from "./golden.ts"
import { chatglm3 } from "./published-configs.ts"
import type { ModelFamily, WholeModel } from "./tiny-stable-diffusion.ts"
import { tinyStableDiffusionXl, writeFolder } from "./tiny-stable-diffusion.ts"

const golden = join(goldenFolder, "pipeline-kolors/model")
const { configs } = tinyStableDiffusionXl

/** Kolors as narrow as can be, but for widths that can be kept in blocks of integers. */
export const tinyKolors: ModelFamily = {
  ...tinyStableDiffusionXl,
  configs: {
    unet: {
      ...configs.unet,
      encoder_hid_dim: 128,
      encoder_hid_dim_type: "text_proj",
      projection_class_embeddings_input_dim: 128 + 6 * 256,
    },
    vae: configs.vae,
    text_encoder: {
      ...chatglm3,
      ffn_hidden_size: 256,
      hidden_size: 128,
      kv_channels: 32,
      num_attention_heads: 4,
      num_layers: 4,
      padded_vocab_size: 768,
    },
  },
  scheduler: JSON.parse(readFileSync(join(golden, "scheduler/scheduler_config.json"), "utf8")),
  tokenizers: {},
}

/** A Kolors as a folder in diffusers' layout, with the small tokenizer of the golden. */
export function writeKolors(folder: string, model: WholeModel): void {
  cpSync(join(golden, "tokenizer"), join(folder, "tokenizer"), { recursive: true })
  writeFolder(folder, model)
}
