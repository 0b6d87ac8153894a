import type { AutoencoderConfig } from "./config/autoencoder.ts"
import type { ControlNetConfig } from "./config/controlnet.ts"
import type { UNetConfig } from "./config/unet.ts"

/**
 * What checkpoints in one file (CompVis' latent-diffusion, Stability's generative-models) call the tensors that diffusers
 * has other names for. Each function takes a name of limn's own, which is diffusers', and gives theirs: the numbers
 * in theirs follow from the configuration, and averaged weights have names that cannot be read backwards.
 */

/** Layers of a residual block of the U-Net. */
const residualLayers: Readonly<Record<string, string>> = {
  norm1: "in_layers.0",
  conv1: "in_layers.2",
  time_emb_proj: "emb_layers.1",
  norm2: "out_layers.0",
  conv2: "out_layers.3",
  conv_shortcut: "skip_connection",
}

/** The name of a tensor of diffusers' `UNet2DConditionModel` after "model.diffusion_model.". */
export function compVisUNetName(
  name: string,
  { layersPerBlock, upBlockTypes }: Pick<UNetConfig, "layersPerBlock" | "upBlockTypes">,
): string {
  // Their blocks are numbered through: the layers of each resolution, then one that changes the size. All resolutions
  // of the published models have as many layers.
  const each = layersPerBlock[0] + 1
  const branch = (kind: string) => (kind === "resnets" ? 0 : 1)
  const besides = (block: number) => (upBlockTypes[block] === "CrossAttnUpBlock2D" ? 2 : 1)
  return name
    .replace(/(\.resnets\.\d+)\.(\w+)/, (_, block, layer) => `${block}.${residualLayers[layer]}`)
    .replace(/^conv_in\./, "input_blocks.0.0.")
    .replace(/^time_embedding\.linear_([12])/, (_, layer) => `time_embed.${2 * (layer - 1)}`)
    .replace(/^add_embedding\.linear_([12])/, (_, layer) => `label_emb.0.${2 * (layer - 1)}`)
    .replace(
      /^down_blocks\.(\d+)\.(resnets|attentions)\.(\d+)/,
      (_, block, kind, layer) => `input_blocks.${1 + block * each + Number(layer)}.${branch(kind)}`,
    )
    .replace(
      /^down_blocks\.(\d+)\.downsamplers\.0\.conv/,
      (_, block) => `input_blocks.${(Number(block) + 1) * each}.0.op`,
    )
    .replace(/^mid_block\.resnets\.(\d)/, (_, layer) => `middle_block.${2 * layer}`)
    .replace(/^mid_block\.attentions\.0/, "middle_block.1")
    .replace(
      /^up_blocks\.(\d+)\.(resnets|attentions)\.(\d+)/,
      (_, block, kind, layer) => `output_blocks.${block * each + Number(layer)}.${branch(kind)}`,
    )
    .replace(
      /^up_blocks\.(\d+)\.upsamplers\.0\.conv/,
      (_, block) => `output_blocks.${(Number(block) + 1) * each - 1}.${besides(Number(block))}.conv`,
    )
    .replace(/^conv_norm_out\./, "out.0.")
    .replace(/^conv_out\./, "out.2.")
}

/** The name of a tensor of diffusers' `ControlNetModel` after "control_model.", where there is such a beginning. */
export function compVisControlNetName(
  name: string,
  { layersPerBlock, conditioningWidths }: Pick<ControlNetConfig, "layersPerBlock" | "conditioningWidths">,
): string {
  // Convolutions with activations between them.
  const hint = (layer: number) => `input_hint_block.${2 * layer}.`
  const own = name
    .replace(/^controlnet_cond_embedding\.conv_in\./, hint(0))
    .replace(/^controlnet_cond_embedding\.blocks\.(\d+)\./, (_, layer) => hint(Number(layer) + 1))
    .replace(/^controlnet_cond_embedding\.conv_out\./, hint(2 * conditioningWidths.length - 1))
    .replace(/^controlnet_down_blocks\.(\d+)\./, "zero_convs.$1.0.")
    .replace(/^controlnet_mid_block\./, "middle_block_out.0.")
  return compVisUNetName(own, { layersPerBlock, upBlockTypes: [] })
}

/** Layers of the autoencoder's middle attention. */
const attentionLayers: Readonly<Record<string, string>> = {
  group_norm: "norm",
  to_q: "q",
  to_k: "k",
  to_v: "v",
  "to_out.0": "proj_out",
}

/** The name of a tensor of diffusers' `AutoencoderKL` after "first_stage_model.". */
export function compVisAutoencoderName(
  name: string,
  { blockOutChannels }: Pick<AutoencoderConfig, "blockOutChannels">,
): string {
  const last = blockOutChannels.length - 1
  return name
    .replace(/\.down_blocks\.(\d+)\./, ".down.$1.")
    .replace(/\.up_blocks\.(\d+)\./, (_, block) => `.up.${last - Number(block)}.`)
    .replace(/(?<=\.(?:up|down)\.\d+)\.resnets\./, ".block.")
    .replace(/\.(up|down)samplers\.0\./, ".$1sample.")
    .replace(/\.mid_block\.resnets\.(\d)/, (_, block) => `.mid.block_${Number(block) + 1}`)
    .replace(
      /\.mid_block\.attentions\.0\.(group_norm|to_[qkv]|to_out\.0)/,
      (_, layer) => `.mid.attn_1.${attentionLayers[layer]}`,
    )
    .replace(".conv_shortcut.", ".nin_shortcut.")
    .replace(".conv_norm_out.", ".norm_out.")
}

/** What the average over training of "model.diffusion_model.x.y" is called: "model_ema.diffusion_modelxy". */
export function compVisAverageName(name: string): string {
  return `model_ema.${name.replace(/^model\./, "").replaceAll(".", "")}`
}
