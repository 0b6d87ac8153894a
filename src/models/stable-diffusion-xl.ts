import type { PublishedModel } from "./published-model.ts"
import { autoencoder, clipL } from "./stable-diffusion-1.ts"

const unet = {
  _class_name: "UNet2DConditionModel",
  act_fn: "silu",
  addition_embed_type: "text_time",
  addition_time_embed_dim: 256,
  attention_head_dim: [5, 10, 20],
  block_out_channels: [320, 640, 1280],
  center_input_sample: false,
  cross_attention_dim: 2048,
  down_block_types: ["DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"],
  downsample_padding: 1,
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 4,
  layers_per_block: 2,
  mid_block_scale_factor: 1,
  norm_eps: 1e-5,
  norm_num_groups: 32,
  out_channels: 4,
  projection_class_embeddings_input_dim: 2816,
  sample_size: 128,
  transformer_layers_per_block: [1, 2, 10],
  up_block_types: ["CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"],
  use_linear_projection: true,
}

/** Its pictures have 512 pixels a side. */
const turboUnet = { ...unet, sample_size: 64 }

const vae = { ...autoencoder, force_upcast: true, sample_size: 1024, scaling_factor: 0.13025 }

/** OpenCLIP's bigG. */
const clipBigG = {
  ...clipL,
  architectures: ["CLIPTextModelWithProjection"],
  hidden_act: "gelu",
  hidden_size: 1280,
  intermediate_size: 5120,
  num_attention_heads: 20,
  num_hidden_layers: 32,
  projection_dim: 1280,
}

const texts = [clipL, clipBigG]

/** SDXL 1.0, as its folder in diffusers' layout holds it. */
export const publishedSdxl: PublishedModel = { unet, vae, texts }

/** SDXL-Turbo, as its folder does. */
export const publishedTurbo: PublishedModel = { unet: turboUnet, vae, texts }

const noise = {
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  num_train_timesteps: 1000,
  prediction_type: "epsilon",
  steps_offset: 1,
}

/** scheduler_config.json of SDXL 1.0. */
export const sdxlScheduler = {
  ...noise,
  _class_name: "EulerDiscreteScheduler",
  interpolation_type: "linear",
  timestep_spacing: "leading",
  use_karras_sigmas: false,
}

/** scheduler_config.json of SDXL-Turbo. */
export const turboScheduler = {
  ...noise,
  _class_name: "EulerAncestralDiscreteScheduler",
  timestep_spacing: "trailing",
}
