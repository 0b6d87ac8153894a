"""
Names, shapes and initialisation of every tensor of tiny models, as diffusers and transformers make them.

test/golden/parameters.json   [{ "model", "config", "parameters": [[name, shape, kind, scale], ...] }]
  kind "constant", "uniform" or "normal"; scale is the constant, the bound or the standard deviation
"""

import json
from unittest.mock import patch

import torch
from diffusers import AutoencoderKL, AutoencoderTiny, ControlNetModel, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from common import GOLDEN

ATTN_DOWN, DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
ATTN_UP, UP = "CrossAttnUpBlock2D", "UpBlock2D"
DOWN_ENCODER, UP_DECODER = "DownEncoderBlock2D", "UpDecoderBlock2D"

UNETS = (
    # Every per-block list differs from block to block.
    dict(block_out_channels=(8, 16, 24), layers_per_block=(1, 2, 1), norm_num_groups=4, attention_head_dim=(2, 4, 3),
         cross_attention_dim=(10, 12, 14), transformer_layers_per_block=(1, 1, 2), only_cross_attention=(True, False, True),
         down_block_types=(DOWN, ATTN_DOWN, ATTN_DOWN), up_block_types=(UP, ATTN_UP, ATTN_UP)),
    # A single level: no resampling at all.
    dict(block_out_channels=(8,), layers_per_block=1, norm_num_groups=2, attention_head_dim=4, cross_attention_dim=6,
         in_channels=5, out_channels=3, down_block_types=(ATTN_DOWN,), up_block_types=(UP,)),
    # SDXL's and Kolors' additions.
    dict(block_out_channels=(8, 16), layers_per_block=2, norm_num_groups=8, attention_head_dim=2, cross_attention_dim=12,
         use_linear_projection=True, encoder_hid_dim=20, encoder_hid_dim_type="text_proj", addition_embed_type="text_time",
         addition_time_embed_dim=4, projection_class_embeddings_input_dim=34, time_embedding_dim=40,
         down_block_types=(DOWN, ATTN_DOWN), up_block_types=(ATTN_UP, UP)),
    # The pooled text, from the projected width and from the width before it.
    dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=8, attention_head_dim=2, cross_attention_dim=12,
         addition_embed_type="text", addition_embed_type_num_heads=3,
         down_block_types=(ATTN_DOWN, ATTN_DOWN), up_block_types=(ATTN_UP, ATTN_UP)),
    dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=8, attention_head_dim=2, cross_attention_dim=12,
         encoder_hid_dim=20, addition_embed_type="text", addition_embed_type_num_heads=5,
         down_block_types=(ATTN_DOWN, ATTN_DOWN), up_block_types=(ATTN_UP, ATTN_UP)),
)

CONTROL_NETS = (
    # Every per-block list differs from block to block, but for the layers, which are as many everywhere.
    dict(block_out_channels=(8, 16, 24), layers_per_block=2, norm_num_groups=4, attention_head_dim=(2, 4, 3), cross_attention_dim=10,
         transformer_layers_per_block=(1, 1, 2), only_cross_attention=(True, False, True), in_channels=5,
         down_block_types=(DOWN, ATTN_DOWN, ATTN_DOWN), conditioning_embedding_out_channels=(4, 6, 7)),
    # Kolors'.
    dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=8, attention_head_dim=2, cross_attention_dim=12,
         use_linear_projection=True, encoder_hid_dim=20, encoder_hid_dim_type="text_proj", addition_embed_type="text_time",
         addition_time_embed_dim=4, projection_class_embeddings_input_dim=34, down_block_types=(DOWN, ATTN_DOWN)),
    # SDXL's smallest.
    dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=8, mid_block_type="UNetMidBlock2D", cross_attention_dim=12,
         down_block_types=(DOWN, DOWN), conditioning_embedding_out_channels=(4, 6)),
)

AUTOENCODERS = (
    dict(block_out_channels=(4, 8, 8), layers_per_block=2, norm_num_groups=2, latent_channels=3,
         down_block_types=(DOWN_ENCODER,) * 3, up_block_types=(UP_DECODER,) * 3),
    dict(block_out_channels=(4, 6), layers_per_block=1, norm_num_groups=2, in_channels=1, out_channels=2, latent_channels=5,
         mid_block_add_attention=False, use_quant_conv=False, use_post_quant_conv=False,
         down_block_types=(DOWN_ENCODER,) * 2, up_block_types=(UP_DECODER,) * 2),
)

TINY_AUTOENCODERS = (
    dict(encoder_block_out_channels=(4, 4), decoder_block_out_channels=(6, 6, 6), num_encoder_blocks=(2, 1), num_decoder_blocks=(1, 0, 2),
         in_channels=1, out_channels=2, latent_channels=5),
)

CLIPS = (
    (CLIPTextModel, dict(hidden_size=16, intermediate_size=40, num_hidden_layers=3, num_attention_heads=4, vocab_size=30,
                         max_position_embeddings=9)),
    (CLIPTextModelWithProjection, dict(hidden_size=24, intermediate_size=32, num_hidden_layers=2, num_attention_heads=3,
                                       vocab_size=20, max_position_embeddings=7, projection_dim=10, initializer_factor=0.5)),
)


def recorded(build):
    """The model that `build` makes, and the last in-place draw of each of its parameters, by identity."""
    draws = {}

    def recording(method, kind, scale):
        original = getattr(torch.Tensor, method)

        def record(self, *args, **kwargs):
            draws[id(self)] = (kind, scale(*args, **kwargs))
            return original(self, *args, **kwargs)

        return patch.object(torch.Tensor, method, record)

    with (
        recording("uniform_", "uniform", lambda low, high, **_: high),
        recording("normal_", "normal", lambda mean=0.0, std=1.0, **_: std),
        recording("fill_", "constant", lambda value: value),
        recording("zero_", "constant", lambda: 0.0),
        # A parameter made from scaled normals then holds its own standard deviation.
        patch.object(torch, "randn", torch.ones),
    ):
        return build(), draws


def described(name, build, config=None, rename=lambda key: key):
    model, draws = recorded(build)
    rows = []
    for key, parameter in model.named_parameters():
        kind, scale = draws.get(id(parameter)) or ("normal", parameter.flatten()[0].item())
        rows.append([rename(key), list(parameter.shape), kind, float(f"{scale:.7g}")])
    return {"model": name, "config": config or dict(model.config), "parameters": rows}


def published(key):
    """transformers 5 drops the leading part of the names that files keep."""
    return key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}"


def clip(model_class, config):
    return described("CLIPTextModel", lambda: model_class(CLIPTextConfig(**config)),
                     {**config, "architectures": [model_class.__name__]}, published)


if __name__ == "__main__":
    models = [
        *(described("UNet2DConditionModel", lambda: UNet2DConditionModel(**config)) for config in UNETS),
        *(described("ControlNetModel", lambda: ControlNetModel(**config)) for config in CONTROL_NETS),
        *(described("AutoencoderKL", lambda: AutoencoderKL(**config)) for config in AUTOENCODERS),
        *(described("AutoencoderTiny", lambda: AutoencoderTiny(**config)) for config in TINY_AUTOENCODERS),
        *(clip(model_class, config) for model_class, config in CLIPS),
    ]
    lines = []
    for model in models:
        rows = ",\n".join("    " + json.dumps(row) for row in model["parameters"])
        head = f'"model": {json.dumps(model["model"])}, "config": {json.dumps(model["config"])}'
        lines.append(f'  {{{head}, "parameters": [\n{rows}]}}')
    path = GOLDEN / "parameters.json"
    path.write_text("[\n" + ",\n".join(lines) + "\n]\n")
    print(f"{path.name}  {path.stat().st_size / 1024:.0f} KiB")
