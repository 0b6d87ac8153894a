import type { Shape } from "../ground/shape.ts"

/** What a file of tensors is, as far as their names and shapes tell. */
export interface Likeness {
  /** With its article, as sentences name it. */
  readonly name: string
  /** Which of them limn can run. */
  readonly runs?: "stable-diffusion-1" | "stable-diffusion-xl"
  /** Every one of these begins the name of some tensor. */
  readonly holds: readonly RegExp[]
  /** Channels that the U-Net reads, where these decide. */
  readonly inputChannels?: number
}

/** As trained, or the average over training. */
const UNET = /^model(\.diffusion_model\.input_blocks\.|_ema\.diffusion_modelinput_blocks)/
const AUTOENCODER = /^first_stage_model\./
const CLIP = /^cond_stage_model\.transformer\.(text_model|embeddings)\./
const OPEN_CLIP = /^cond_stage_model\.model\./
const CLIP_XL = /^conditioner\.embedders\.0\.transformer\.(text_model|embeddings)\./
const OPEN_CLIP_XL = /^conditioner\.embedders\.1\.model\./
const INPUTS = [
  "model.diffusion_model.input_blocks.0.0.weight",
  "model_ema.diffusion_modelinput_blocks00weight",
]

/** From the most particular on: the first that fits is it. */
const likenesses: readonly Likeness[] = [
  {
    name: "a LoRA for another model",
    holds: [/^lora_|\.lora_(up|down|A|B)\.|\.lora\.(up|down)\.|:(up|down)$/],
  },
  { name: "a ControlNet", holds: [/^(control_model\.|controlnet_|input_hint_block\.)/] },
  { name: "an IP-Adapter", holds: [/^image_proj\./, /^ip_adapter\./] },
  { name: "a textual inversion", holds: [/^(string_to_param\.|emb_params$|clip_[lg]$|<[^>]+>$)/] },
  { name: "a Stable Diffusion XL refiner", holds: [UNET, /^conditioner\.embedders\.0\.model\./] },
  { name: "a Playground 2.5 model", holds: [UNET, /^edm_mean$/] },
  {
    name: "a Stable Diffusion XL model that predicts velocities",
    holds: [UNET, OPEN_CLIP_XL, /^(v_pred$|edm_vpred\.)/],
  },
  {
    name: "a Stable Diffusion XL model that edits pictures",
    holds: [UNET, OPEN_CLIP_XL],
    inputChannels: 8,
  },
  {
    name: "a Stable Diffusion XL model for inpainting",
    runs: "stable-diffusion-xl",
    holds: [UNET, CLIP_XL, OPEN_CLIP_XL, AUTOENCODER],
    inputChannels: 9,
  },
  {
    name: "a Stable Diffusion XL model",
    runs: "stable-diffusion-xl",
    holds: [UNET, CLIP_XL, OPEN_CLIP_XL, AUTOENCODER],
  },
  { name: "a Stable Diffusion XL model without all of its parts", holds: [UNET, OPEN_CLIP_XL] },
  { name: "a Stable Diffusion 3 model", holds: [/^(model\.diffusion_model\.)?joint_blocks\./] },
  { name: "a FLUX model", holds: [/^(model\.diffusion_model\.)?double_blocks\./] },
  { name: "a Stable Diffusion 2.x model", holds: [UNET, OPEN_CLIP] },
  { name: "a Stable Diffusion 1.x model that edits pictures", holds: [UNET, CLIP], inputChannels: 8 },
  {
    name: "a Stable Diffusion 1.x model for inpainting",
    runs: "stable-diffusion-1",
    holds: [UNET, CLIP, AUTOENCODER],
    inputChannels: 9,
  },
  { name: "a Stable Diffusion 1.x model", runs: "stable-diffusion-1", holds: [UNET, CLIP, AUTOENCODER] },
  { name: "a Stable Diffusion 1.x model without its autoencoder", holds: [UNET, CLIP] },
  {
    name: "a latent diffusion model from before Stable Diffusion",
    holds: [UNET, /^cond_stage_model\.transformer\.token_emb\./],
  },
  { name: "a U-Net without the rest of its model", holds: [UNET] },
  {
    name: "a U-Net without the rest of its model",
    holds: [/^(down_blocks|mid_block)\..*\.transformer_blocks\./],
  },
  {
    name: "an autoencoder without the rest of its model",
    holds: [/^(first_stage_model\.)?decoder\.(up|mid)\./],
  },
  {
    name: "an autoencoder without the rest of its model",
    holds: [/^decoder\.(up_blocks|mid_block|layers)\./],
  },
  { name: "half of TAESD, a tiny autoencoder", holds: [/^\d+\.conv\.4\.weight$/] },
  { name: "a text encoder without the rest of its model", holds: [/^(text_model\.)?encoder\.layers\./] },
]

/** What the tensors of a file look like, or undefined where they look like nothing that is known here. */
export function likenessOf(tensors: ReadonlyMap<string, { readonly shape: Shape }>): Likeness | undefined {
  const names = [...tensors.keys()]
  const input = INPUTS.find((name) => tensors.has(name))
  const channels = input === undefined ? undefined : tensors.get(input)?.shape[1]
  return likenesses.find(
    ({ holds, inputChannels }) =>
      holds.every((beginning) => names.some((name) => beginning.test(name))) &&
      (inputChannels === undefined || channels === inputChannels),
  )
}
