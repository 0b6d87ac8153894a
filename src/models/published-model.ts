import type { Shape } from "../ground/shape.ts"

/** config.json of every part of a published model, before anything has read it. */
export interface PublishedModel {
  readonly unet: PublishedUNet
  readonly vae: PublishedAutoencoder
  /** In the order in which their states are joined. */
  readonly texts: readonly PublishedText[]
}

/** What a U-Net's tensors can say otherwise. */
interface PublishedUNet {
  readonly in_channels: number
  readonly block_out_channels: readonly number[]
  /** One number of heads at every width, or the numbers that heads of one width come to. */
  readonly attention_head_dim: number | readonly number[]
  readonly cross_attention_dim: number
  readonly projection_class_embeddings_input_dim?: number
}

interface PublishedAutoencoder {
  readonly block_out_channels: readonly number[]
}

interface PublishedText {
  readonly hidden_size: number
  readonly intermediate_size: number
  readonly num_attention_heads: number
  readonly num_hidden_layers: number
  readonly projection_dim: number
}

/** The shape of one part's tensor by its name in diffusers, or undefined where there is none. */
export type ShapeOf = (name: string) => Shape | undefined

/** Heads of every CLIP text encoder, and of SDXL's U-Net, are this wide. */
const HEAD_WIDTH = 64

/**
 * The configurations of a model of a family, with the widths that its tensors have: distilled models are narrower, and
 * those for inpainting read more channels. What shows in no shape is as published.
 */
export function fittedModel(
  { unet, vae, texts }: PublishedModel,
  shapes: { readonly unet: ShapeOf; readonly vae: ShapeOf; readonly texts: readonly ShapeOf[] },
): PublishedModel {
  const encoders = texts.map((text, i) => fittedText(text, shapes.texts[i]))
  const textWidth = encoders.reduce((sum, { hidden_size }) => sum + hidden_size, 0)
  return {
    unet: fittedUNet(unet, textWidth, shapes.unet),
    vae: {
      ...vae,
      block_out_channels: vae.block_out_channels.map((width, level) =>
        size(shapes.vae, `encoder.down_blocks.${level}.resnets.0.conv1.weight`, 0, width),
      ),
    },
    texts: encoders,
  }
}

function fittedUNet(unet: PublishedUNet, textWidth: number, shapeOf: ShapeOf): PublishedUNet {
  const channels = unet.block_out_channels.map((width, level) =>
    size(shapeOf, `down_blocks.${level}.resnets.0.conv1.weight`, 0, width),
  )
  const { attention_head_dim: heads, projection_class_embeddings_input_dim: added } = unet
  return {
    ...unet,
    in_channels: size(shapeOf, "conv_in.weight", 1, unet.in_channels),
    block_out_channels: channels,
    attention_head_dim: typeof heads === "number" ? heads : channels.map((width) => width / HEAD_WIDTH),
    cross_attention_dim: textWidth,
    ...(added !== undefined && {
      projection_class_embeddings_input_dim: size(shapeOf, "add_embedding.linear_1.weight", 1, added),
    }),
  }
}

function fittedText(text: PublishedText, shapeOf: ShapeOf): PublishedText {
  const hidden = size(shapeOf, "text_model.embeddings.token_embedding.weight", 1, text.hidden_size)
  const layer = (n: number) => `text_model.encoder.layers.${n}.mlp.fc1.weight`
  let layers = 0
  while (shapeOf(layer(layers)) !== undefined) layers++
  return {
    ...text,
    hidden_size: hidden,
    intermediate_size: size(shapeOf, layer(0), 0, text.intermediate_size),
    num_attention_heads: hidden / HEAD_WIDTH,
    num_hidden_layers: layers || text.num_hidden_layers,
    projection_dim: size(shapeOf, "text_projection.weight", 0, text.projection_dim),
  }
}

function size(shapeOf: ShapeOf, name: string, axis: number, published: number): number {
  return shapeOf(name)?.[axis] ?? published
}
