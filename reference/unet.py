"""
UNet2DConditionModel: tiny models of every published shape, with inputs and outputs.

test/golden/unet/<name>/
  config.json, diffusion_pytorch_model[.<variant>].safetensors   the model as diffusers writes it
  cases.json                                                     [{ "file", "variant" }]
  case-*.safetensors   sample, timestep [B], encoder_hidden_states [, text_embeds, time_ids] -> output, all float32
"""

import torch
from diffusers import UNet2DConditionModel

from common import GOLDEN, fresh, generator, randomize, report, write_json, write_tensors

ATTN_DOWN, DOWN = "CrossAttnDownBlock2D", "DownBlock2D"
ATTN_UP, UP = "CrossAttnUpBlock2D", "UpBlock2D"

# name: (config, cases); a case is (batch, height, width, tokens, timesteps).
# Every level has at least two channels per group: with one, the norm after it would erase the timestep and the biases.
MODELS = {
    # Stable Diffusion 1.x: convolutions around the transformer, one head count for all blocks.
    "conv-projection": (
        dict(block_out_channels=(16, 16, 32), layers_per_block=1, norm_num_groups=8, attention_head_dim=2,
             cross_attention_dim=24, down_block_types=(ATTN_DOWN, ATTN_DOWN, DOWN), up_block_types=(UP, ATTN_UP, ATTN_UP)),
        [(1, 8, 8, 7, [921.04]), (2, 10, 14, 7, [1, 1])],
    ),
    # Stable Diffusion 2.x: linear projections, head counts per block, two layers.
    "linear-projection": (
        dict(block_out_channels=(8, 16), layers_per_block=2, norm_num_groups=4, attention_head_dim=(2, 4),
             cross_attention_dim=20, use_linear_projection=True,
             down_block_types=(ATTN_DOWN, ATTN_DOWN), up_block_types=(ATTN_UP, ATTN_UP)),
        [(2, 6, 10, 5, [999, 17]), (1, 7, 5, 9, [0])],
    ),
    # SDXL: depth differs per level, the first level has no attention, size conditioning.
    "text-time": (
        dict(block_out_channels=(8, 16), layers_per_block=2, norm_num_groups=4, attention_head_dim=(2, 4),
             cross_attention_dim=16, use_linear_projection=True, transformer_layers_per_block=(1, 2),
             addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=12 + 6 * 8,
             down_block_types=(DOWN, ATTN_DOWN), up_block_types=(ATTN_UP, UP)),
        [(2, 5, 7, 6, [500.5, 3.25]), (1, 8, 8, 6, [981])],
    ),
    # Kolors: SDXL with a projection of the text states before everything else.
    "text-projection": (
        dict(block_out_channels=(8, 16, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=(2, 2, 4),
             cross_attention_dim=16, use_linear_projection=True, transformer_layers_per_block=(1, 1, 2),
             addition_embed_type="text_time", addition_time_embed_dim=8, projection_class_embeddings_input_dim=24 + 6 * 8,
             encoder_hid_dim=24, encoder_hid_dim_type="text_proj",
             down_block_types=(DOWN, ATTN_DOWN, ATTN_DOWN), up_block_types=(ATTN_UP, ATTN_UP, UP)),
        [(2, 6, 9, 8, [1099])],
    ),
    # Text pooled by attention inside the model (from the states as they come), then projected for cross-attention.
    "text-pooling": (
        dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=4,
             cross_attention_dim=16, addition_embed_type="text", addition_embed_type_num_heads=4, encoder_hid_dim=24,
             down_block_types=(ATTN_DOWN, DOWN), up_block_types=(UP, ATTN_UP)),
        [(2, 8, 6, 11, [250, 750])],
    ),
    # Thirty-two groups as published, inpainting's nine channels, attention only in the middle; half precision alone.
    "nine-channels": (
        dict(in_channels=9, block_out_channels=(64,), layers_per_block=1, norm_num_groups=32, attention_head_dim=8,
             cross_attention_dim=12, down_block_types=(DOWN,), up_block_types=(UP,)),
        [(1, 9, 6, 4, [37])],
    ),
    # Four levels, so that odd sizes meet more than one explicit upsample size; attention in the middle levels only.
    "four-levels": (
        dict(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=(1, 2, 2, 4),
             cross_attention_dim=10, down_block_types=(DOWN, ATTN_DOWN, ATTN_DOWN, DOWN),
             up_block_types=(UP, ATTN_UP, ATTN_UP, UP)),
        [(1, 5, 7, 3, [642.5]), (2, 11, 16, 3, [10, 900])],
    ),
}

DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
VARIANTS = {"linear-projection": (None, "fp16", "bf16"), "text-time": (None, "fp16", "bf16"), "nine-channels": ("fp16",)}
SHARDED = "text-time"


def inputs(model, case, g):
    batch, height, width, tokens, timesteps = case
    config = model.config
    text = config.cross_attention_dim if config.encoder_hid_dim is None else config.encoder_hid_dim
    tensors = {
        "sample": torch.randn(batch, config.in_channels, height, width, generator=g),
        "timestep": torch.tensor([float(t) for t in timesteps]).expand(batch),
        "encoder_hidden_states": torch.randn(batch, tokens, text, generator=g),
    }
    if config.addition_embed_type == "text_time":
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        tensors["text_embeds"] = torch.randn(batch, pooled, generator=g)
        tensors["time_ids"] = torch.tensor([[1024.0, 768.0, 0.0, 16.0, 896.0, 1152.0]]).expand(batch, 6)
    return tensors


def run(model, tensors):
    added = {name: tensors[name] for name in ("text_embeds", "time_ids") if name in tensors}
    return model(tensors["sample"], tensors["timestep"], tensors["encoder_hidden_states"],
                 added_cond_kwargs=added or None).sample


def build(name):
    """The model `name`, always with the same weights."""
    config, _ = MODELS[name]
    torch.manual_seed(0)
    return randomize(UNet2DConditionModel(sample_size=8, **config), seed=100 + list(MODELS).index(name))


@torch.no_grad()
def main():
    fresh(GOLDEN / "unet")
    for name, (_, cases) in MODELS.items():
        folder = fresh(GOLDEN / "unet" / name)
        model = build(name)
        model.save_config(folder)
        weights = {key: value.clone() for key, value in model.state_dict().items()}
        index = []
        for variant in VARIANTS.get(name, (None,)):
            if variant is None:
                model.save_pretrained(folder, max_shard_size="150KB" if name == SHARDED else "10GB")
            else:
                rounded = {key: value.to(DTYPES[variant]) for key, value in weights.items()}
                write_tensors(folder / f"diffusion_pytorch_model.{variant}.safetensors", rounded)
                model.load_state_dict({key: value.float() for key, value in rounded.items()})
            g = generator(7)
            for case in cases:
                tensors = inputs(model, case, g)
                tensors["output"] = run(model, tensors)
                file = f"case-{case[1]}x{case[2]}{'-' + variant if variant else ''}.safetensors"
                write_tensors(folder / file, tensors)
                index.append({"file": file, "variant": variant})
                print(name, file, f"output std {tensors['output'].std():.3f}")
        write_json(folder / "cases.json", index)
        report(folder)


if __name__ == "__main__":
    main()
