import { describe, expect, it } from "vitest"
import { FormatError } from "../../src/ground/errors.ts"
import { autoencoderConfig } from "../../src/models/config/autoencoder.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { taesdConfig } from "../../src/models/config/taesd.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import {
  clipBigG,
  clipL,
  kolorsInpaintUnet,
  kolorsUnet,
  sd14Autoencoder,
  sd14Unet,
  sdxlAutoencoder,
  sdxlUnet,
} from "./published-configs.ts"

const from = "unet/config.json"

describe("the U-Net's configuration", () => {
  it("fills in what Stable Diffusion 1.4 leaves out", () => {
    expect(unetConfig(sd14Unet, from)).toEqual({
      sampleSize: [64, 64],
      inChannels: 4,
      outChannels: 4,
      flipSinToCos: true,
      freqShift: 0,
      timeEmbedDim: 1280,
      downBlockTypes: ["CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"],
      upBlockTypes: ["UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"],
      blockOutChannels: [320, 640, 1280, 1280],
      layersPerBlock: [2, 2, 2, 2],
      transformerLayersPerBlock: [1, 1, 1, 1],
      attentionHeads: [8, 8, 8, 8],
      crossAttentionDim: [768, 768, 768, 768],
      onlyCrossAttention: [false, false, false, false],
      useLinearProjection: false,
      upcastAttention: false,
      normNumGroups: 32,
      normEps: 1e-5,
      encoderHidDim: null,
      additionEmbed: null,
    })
  })

  it("reads SDXL's lists and its sizes", () => {
    expect(unetConfig(sdxlUnet, from)).toMatchObject({
      sampleSize: [128, 128],
      timeEmbedDim: 1280,
      transformerLayersPerBlock: [1, 2, 10],
      attentionHeads: [5, 10, 20],
      crossAttentionDim: [2048, 2048, 2048],
      useLinearProjection: true,
      upcastAttention: false,
      encoderHidDim: null,
      additionEmbed: { type: "text_time", inputDim: 2816, timeDim: 256 },
    })
  })

  it("reads Kolors' text projection, and its inpainting model's nine channels", () => {
    expect(unetConfig(kolorsUnet, from)).toMatchObject({
      encoderHidDim: 4096,
      additionEmbed: { type: "text_time", inputDim: 5632, timeDim: 256 },
    })
    expect(unetConfig(kolorsInpaintUnet, from)).toEqual({ ...unetConfig(kolorsUnet, from), inChannels: 9 })
  })

  it("takes a width before the text projection as a wish for one, as diffusers does", () => {
    expect(unetConfig({ ...sd14Unet, encoder_hid_dim: 512 }, from).encoderHidDim).toBe(512)
  })

  it("pools the text at the width in which it comes in", () => {
    const text = { ...sd14Unet, addition_embed_type: "text" }
    expect(unetConfig(text, from).additionEmbed).toEqual({ type: "text", inputDim: 768, heads: 64 })
    const projected = { ...text, encoder_hid_dim: 512, addition_embed_type_num_heads: 4 }
    expect(unetConfig(projected, from).additionEmbed).toEqual({ type: "text", inputDim: 512, heads: 4 })
  })

  it("takes attention_head_dim as a number of heads unless num_attention_heads is given", () => {
    expect(unetConfig({ ...sd14Unet, num_attention_heads: 10 }, from).attentionHeads).toEqual([
      10, 10, 10, 10,
    ])
  })

  it("asks heads to divide channels only where there is attention", () => {
    const heads = { ...sdxlUnet, attention_head_dim: [7, 10, 20] }
    expect(unetConfig({ ...heads }, from).attentionHeads).toEqual([7, 10, 20])
    const attending = { ...heads, up_block_types: Array(3).fill("CrossAttnUpBlock2D") }
    expect(() => unetConfig(attending, from)).toThrow("it must divide the channels of block 0, 320")
  })

  it.each<[string, unknown, string]>([
    [
      "nothing",
      null,
      "unet/config.json is not a JSON object; limn reads the configuration of UNet2DConditionModel there.",
    ],
    [
      "a list",
      [],
      "unet/config.json is not a JSON object; limn reads the configuration of UNet2DConditionModel there.",
    ],
    ["another model's", sd14Autoencoder, '"down_block_types[0]" is "DownEncoderBlock2D"'],
    [
      "a missing key",
      { ...sd14Unet, cross_attention_dim: undefined },
      'unet/config.json has no "cross_attention_dim"; limn cannot build UNet2DConditionModel without it.',
    ],
    [
      "text for a number",
      { ...sd14Unet, in_channels: "4" },
      '"in_channels" is "4"; limn needs a positive integer.',
    ],
    ["a fraction", { ...sd14Unet, in_channels: 4.5 }, '"in_channels" is 4.5; limn needs a positive integer.'],
    ["zero", { ...sd14Unet, out_channels: 0 }, '"out_channels" is 0; limn needs a positive integer.'],
    [
      "an activation",
      { ...sd14Unet, act_fn: "mish" },
      'unet/config.json: "act_fn" is "mish"; limn supports "silu" or "swish".',
    ],
    [
      "a block",
      { ...sd14Unet, up_block_types: ["UpBlock2D", "SkipUpBlock2D", "UpBlock2D", "UpBlock2D"] },
      '"up_block_types[1]" is "SkipUpBlock2D"; limn supports "CrossAttnUpBlock2D" or "UpBlock2D".',
    ],
    [
      "too few blocks",
      { ...sd14Unet, up_block_types: ["UpBlock2D"] },
      '"up_block_types" is ["UpBlock2D"]; limn needs a list of 4, one for each block.',
    ],
    [
      "a list too long",
      { ...sd14Unet, layers_per_block: [2, 2, 2, 2, 2] },
      '"layers_per_block" is [2,2,2,2,2]; limn needs a list of 4, one for each block.',
    ],
    [
      "asymmetric transformers",
      { ...sdxlUnet, transformer_layers_per_block: [0, [2, 2], 10] },
      '"transformer_layers_per_block" is [0,[2,2],10]; limn needs 0 or a positive integer, or a list of them.',
    ],
    [
      "no blocks",
      { ...sd14Unet, block_out_channels: [] },
      '"block_out_channels" is []; limn needs at least one block.',
    ],
    [
      "groups",
      { ...sd14Unet, norm_num_groups: 48 },
      '"norm_num_groups" is 48; it must divide the channels of block 0, 320.',
    ],
    [
      "heads",
      { ...sd14Unet, attention_head_dim: 7 },
      '"attention_head_dim" is 7; it must divide the channels of block 0, 320.',
    ],
    [
      "a projection without a width",
      { ...sd14Unet, encoder_hid_dim_type: "text_proj" },
      '"encoder_hid_dim" is null; "encoder_hid_dim_type" "text_proj" needs a width there.',
    ],
    [
      "a projection to several widths",
      { ...sd14Unet, encoder_hid_dim: 512, cross_attention_dim: [64, 64, 64, 128] },
      '"cross_attention_dim" is [64,64,64,128]; this configuration reads the text at one width for all blocks.',
    ],
    [
      "pooling of several widths",
      { ...sd14Unet, addition_embed_type: "text", cross_attention_dim: [64, 64, 64, 128] },
      '"cross_attention_dim" is [64,64,64,128]; this configuration reads the text at one width for all blocks.',
    ],
    [
      "pooling heads",
      { ...sd14Unet, addition_embed_type: "text", addition_embed_type_num_heads: 5 },
      '"addition_embed_type_num_heads" is 5; it must divide the text\'s width, 768.',
    ],
    [
      "sizes without a width",
      { ...sdxlUnet, addition_time_embed_dim: null },
      '"addition_time_embed_dim" is null; "addition_embed_type" "text_time" needs a width there.',
    ],
    [
      "a picture size",
      { ...sd14Unet, sample_size: "64" },
      '"sample_size" is "64"; limn needs one size, or [height, width].',
    ],
  ])("refuses %s in one sentence", (_, json, sentence) => {
    expect(() => unetConfig(json, from)).toThrow(FormatError)
    expect(() => unetConfig(json, from)).toThrow(sentence)
  })

  it.each<[string, unknown]>([
    ["addition_embed_type", "image"],
    ["attention_type", "gated"],
    ["center_input_sample", true],
    ["class_embed_type", "timestep"],
    ["class_embeddings_concat", true],
    ["conv_in_kernel", 1],
    ["conv_out_kernel", 5],
    ["cross_attention_norm", "layer_norm"],
    ["downsample_padding", 0],
    ["dual_cross_attention", true],
    ["encoder_hid_dim_type", "image_proj"],
    ["mid_block_scale_factor", 1.4],
    ["mid_block_type", null],
    ["num_class_embeds", 1000],
    ["resnet_out_scale_factor", 0.5],
    ["resnet_skip_time_act", true],
    ["resnet_time_scale_shift", "scale_shift"],
    ["reverse_transformer_layers_per_block", [[1], [1], [1], [1]]],
    ["time_cond_proj_dim", 256],
    ["time_embedding_act_fn", "silu"],
    ["time_embedding_type", "fourier"],
    ["timestep_post_act", "gelu"],
  ])("says that it cannot run %s %j", (key, value) => {
    const start = `${from}: "${key}" is ${JSON.stringify(value)}; limn supports `
    expect(() => unetConfig({ ...sd14Unet, [key]: value }, from)).toThrow(start)
  })
})

describe("the autoencoder's configuration", () => {
  const source = "vae/config.json"

  it("fills in what Stable Diffusion 1.4 leaves out", () => {
    expect(autoencoderConfig(sd14Autoencoder, source)).toEqual({
      sampleSize: [512, 512],
      inChannels: 3,
      outChannels: 3,
      latentChannels: 4,
      blockOutChannels: [128, 256, 512, 512],
      layersPerBlock: 2,
      normNumGroups: 32,
      midBlockAddAttention: true,
      useQuantConv: true,
      usePostQuantConv: true,
      scalingFactor: 0.18215,
      shiftFactor: 0,
      latentsMean: null,
      latentsStd: null,
      forceUpcast: true,
    })
  })

  it("reads SDXL's scale", () => {
    expect(autoencoderConfig(sdxlAutoencoder, source)).toMatchObject({
      scalingFactor: 0.13025,
      sampleSize: [1024, 1024],
    })
    expect(autoencoderConfig({ ...sdxlAutoencoder, force_upcast: false }, source).forceUpcast).toBe(false)
  })

  it.each<[string, unknown, string]>([
    [
      "a missing key",
      {},
      'vae/config.json has no "latent_channels"; limn cannot build AutoencoderKL without it.',
    ],
    [
      "a block",
      { ...sd14Autoencoder, down_block_types: ["AttnDownEncoderBlock2D"] },
      '"down_block_types[0]" is "AttnDownEncoderBlock2D"; limn supports "DownEncoderBlock2D".',
    ],
    [
      "too few blocks",
      { ...sd14Autoencoder, up_block_types: ["UpDecoderBlock2D"] },
      '"up_block_types" is ["UpDecoderBlock2D"]; limn needs a list of 4, one for each block.',
    ],
    [
      "groups",
      { ...sd14Autoencoder, norm_num_groups: 100 },
      '"norm_num_groups" is 100; it must divide the channels of block 0, 128.',
    ],
    [
      "a mean of another width",
      { ...sd14Autoencoder, latents_mean: [0, 0, 0] },
      '"latents_mean" is [0,0,0]; limn needs a list of 4, one for each latent channel.',
    ],
    [
      "an activation",
      { ...sd14Autoencoder, act_fn: "relu" },
      '"act_fn" is "relu"; limn supports "silu" or "swish".',
    ],
  ])("refuses %s in one sentence", (_, json, sentence) => {
    expect(() => autoencoderConfig(json, source)).toThrow(FormatError)
    expect(() => autoencoderConfig(json, source)).toThrow(sentence)
  })
})

describe("TAESD's configuration", () => {
  const source = "vae/config.json"

  it("is TAESD's where nothing is said", () => {
    expect(taesdConfig({}, source)).toEqual({
      inChannels: 3,
      outChannels: 3,
      latentChannels: 4,
      encoderChannels: 64,
      decoderChannels: 64,
      encoderBlocks: [1, 3, 3, 3],
      decoderBlocks: [3, 3, 3, 1],
      scalingFactor: 1,
    })
  })

  it.each<[string, unknown, string]>([
    ["an activation", { act_fn: "gelu" }, '"act_fn" is "gelu"; limn supports "relu".'],
    ["a shift", { shift_factor: 0.1 }, '"shift_factor" is 0.1; limn supports 0.'],
    [
      "several widths",
      { decoder_block_out_channels: [64, 64, 64, 32] },
      '"decoder_block_out_channels" is [64,64,64,32]; limn needs one width, once for each of "num_decoder_blocks".',
    ],
    [
      "too few widths",
      { encoder_block_out_channels: [64, 64, 64] },
      '"encoder_block_out_channels" is [64,64,64]; limn needs one width, once for each of "num_encoder_blocks".',
    ],
  ])("refuses %s in one sentence", (_, json, sentence) => {
    expect(() => taesdConfig(json, source)).toThrow(FormatError)
    expect(() => taesdConfig(json, source)).toThrow(sentence)
  })
})

describe("the text encoder's configuration", () => {
  const source = "text_encoder/config.json"

  it("reads Stable Diffusion 1.4's", () => {
    expect(clipTextConfig(clipL, source)).toEqual({
      vocabSize: 49408,
      hiddenSize: 768,
      intermediateSize: 3072,
      numHiddenLayers: 12,
      numAttentionHeads: 12,
      maxPositionEmbeddings: 77,
      hiddenAct: "quick_gelu",
      layerNormEps: 1e-5,
      eosTokenId: 2,
      projectionDim: null,
      initializerFactor: 1,
    })
  })

  it("knows from the architecture whether the pooled state is projected", () => {
    expect(clipTextConfig(clipBigG, source)).toMatchObject({ hiddenAct: "gelu", projectionDim: 1280 })
    expect(clipTextConfig({ ...clipBigG, architectures: undefined }, source).projectionDim).toBeNull()
  })

  it("reads the text half of a whole CLIP model, with transformers' defaults", () => {
    const text_config = {
      hidden_size: 768,
      intermediate_size: 3072,
      num_attention_heads: 12,
      projection_dim: 768,
    }
    const whole = { architectures: ["CLIPModel"], model_type: "clip", text_config, vision_config: {} }
    expect(clipTextConfig(whole, source)).toEqual({
      ...clipTextConfig(clipL, source),
      eosTokenId: 49407,
      projectionDim: 768,
    })
    const twice = { ...whole, text_config_dict: { ...text_config, num_hidden_layers: 3 } }
    expect(clipTextConfig(twice, source).numHiddenLayers).toBe(3)
    expect(clipTextConfig({ ...whole, text_config_dict: null }, source).numHiddenLayers).toBe(12)
    expect(clipTextConfig({ ...whole, projection_dim: 640 }, source).projectionDim).toBe(640)
  })

  it.each<[string, unknown, string]>([
    [
      "a missing key",
      {},
      'text_encoder/config.json has no "hidden_size"; limn cannot build CLIPTextModel without it.',
    ],
    [
      "an activation",
      { ...clipL, hidden_act: "relu" },
      '"hidden_act" is "relu"; limn supports "quick_gelu" or "gelu".',
    ],
    [
      "heads",
      { ...clipL, num_attention_heads: 7 },
      '"num_attention_heads" is 7; it must divide the hidden size, 768.',
    ],
    [
      "a projection without a width",
      { ...clipBigG, projection_dim: null },
      '"projection_dim" is null; CLIPTextModelWithProjection needs a width there.',
    ],
    ["a text half of another kind", { text_config: 3 }, '"text_config" is 3; limn needs a JSON object.'],
  ])("refuses %s in one sentence", (_, json, sentence) => {
    expect(() => clipTextConfig(json, source)).toThrow(FormatError)
    expect(() => clipTextConfig(json, source)).toThrow(sentence)
  })
})
