import type { Shape } from "../ground/shape.ts"

/** Configurations of Stable Diffusion 1.4, as its folder in diffusers' layout holds them. */

const unet = {
  _class_name: "UNet2DConditionModel",
  act_fn: "silu",
  attention_head_dim: 8,
  block_out_channels: [320, 640, 1280, 1280],
  center_input_sample: false,
  cross_attention_dim: 768,
  down_block_types: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
  downsample_padding: 1,
  flip_sin_to_cos: true,
  freq_shift: 0,
  in_channels: 4,
  layers_per_block: 2,
  mid_block_scale_factor: 1,
  norm_eps: 1e-5,
  norm_num_groups: 32,
  out_channels: 4,
  sample_size: 64,
  up_block_types: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
}

const autoencoder = {
  _class_name: "AutoencoderKL",
  act_fn: "silu",
  block_out_channels: [128, 256, 512, 512],
  down_block_types: Array<string>(4).fill("DownEncoderBlock2D"),
  in_channels: 3,
  latent_channels: 4,
  layers_per_block: 2,
  norm_num_groups: 32,
  out_channels: 3,
  sample_size: 512,
  scaling_factor: 0.18215,
  up_block_types: Array<string>(4).fill("UpDecoderBlock2D"),
}

const textEncoder = {
  architectures: ["CLIPTextModel"],
  eos_token_id: 2,
  hidden_act: "quick_gelu",
  hidden_size: 768,
  intermediate_size: 3072,
  layer_norm_eps: 1e-5,
  max_position_embeddings: 77,
  num_attention_heads: 12,
  num_hidden_layers: 12,
  projection_dim: 768,
  vocab_size: 49408,
}

/** scheduler_config.json of Stable Diffusion 1.4. */
export const stableDiffusion1Scheduler = {
  _class_name: "PNDMScheduler",
  beta_end: 0.012,
  beta_schedule: "scaled_linear",
  beta_start: 0.00085,
  clip_sample: false,
  num_train_timesteps: 1000,
  set_alpha_to_one: false,
  skip_prk_steps: true,
  steps_offset: 1,
}

/** Every CLIP text encoder has heads of this width. */
const HEAD_WIDTH = 64

/** The parts of a Stable Diffusion 1.x model: their config.json, before anything has read it. */
export interface StableDiffusion1Configs {
  readonly unet: object
  readonly vae: object
  readonly text: object
}

/**
 * The configurations of a model of the family, with the widths that its tensors have: distilled models are narrower.
 * What shows in no shape, such as the number of heads, is as published.
 *   shapeOf   the shape of a tensor by its name in the original files, or undefined where there is none
 */
export function stableDiffusion1Configs(
  shapeOf: (part: "unet" | "vae" | "text", name: string) => Shape | undefined,
): StableDiffusion1Configs {
  const size = (part: "unet" | "vae" | "text", name: string, axis: number, published: number) =>
    shapeOf(part, name)?.[axis] ?? published
  const channels = (part: "unet" | "vae", published: readonly number[], nameOf: (level: number) => string) =>
    published.map((width, level) => size(part, nameOf(level), 0, width))
  const hidden = size("text", "text_model.embeddings.token_embedding.weight", 1, textEncoder.hidden_size)
  const layer = (n: number) => `text_model.encoder.layers.${n}.mlp.fc1.weight`
  let layers = 0
  while (shapeOf("text", layer(layers)) !== undefined) layers++
  return {
    unet: {
      ...unet,
      block_out_channels: channels(
        "unet",
        unet.block_out_channels,
        (level) => `input_blocks.${1 + level * (unet.layers_per_block + 1)}.0.in_layers.2.weight`,
      ),
      cross_attention_dim: hidden,
    },
    vae: {
      ...autoencoder,
      block_out_channels: channels(
        "vae",
        autoencoder.block_out_channels,
        (level) => `encoder.down.${level}.block.0.conv1.weight`,
      ),
    },
    text: {
      ...textEncoder,
      hidden_size: hidden,
      intermediate_size: size("text", layer(0), 0, textEncoder.intermediate_size),
      num_attention_heads: hidden / HEAD_WIDTH,
      num_hidden_layers: layers || textEncoder.num_hidden_layers,
      projection_dim: hidden,
    },
  }
}
