"""
AutoencoderKL: tiny autoencoders with inputs and outputs.

test/golden/vae/<name>/
  config.json, diffusion_pytorch_model.safetensors
  case-*.safetensors   image [B, 3, H, W] -> moments [B, 2*L, h, w] (mean then raw logvar, before any clamp);
                       latents [B, L, h', w'] -> decoded [B, 3, H', W']; latents are unscaled, as decode takes them
"""

import torch
from diffusers import AutoencoderKL

from common import GOLDEN, fresh, generator, randomize, report, write_tensors

ENCODE, DECODE = "DownEncoderBlock2D", "UpDecoderBlock2D"

# name: (config, cases); a case is (batch, image height, image width, latent height, latent width).
# Every level has at least two channels per group: with one, the norm after it would erase the biases.
MODELS = {
    # The published shape, four levels and two layers; attention under the names that SD 1.x files keep.
    "old-attention-names": (
        dict(block_out_channels=(8, 8, 16, 16), layers_per_block=2, norm_num_groups=4, latent_channels=4),
        [(1, 37, 53, 5, 7), (2, 32, 24, 4, 3)],
    ),
    "two-levels": (
        dict(block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, latent_channels=3, scaling_factor=0.13025),
        [(2, 18, 14, 9, 7)],
    ),
    "sixteen-groups": (
        dict(block_out_channels=(32,), layers_per_block=1, norm_num_groups=16, latent_channels=8),
        [(1, 9, 11, 6, 5)],
    ),
    "no-middle-attention": (
        dict(block_out_channels=(8, 8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4, mid_block_add_attention=False),
        [(1, 21, 30, 3, 5)],
    ),
}

OLD_NAMES = (("to_q", "query"), ("to_k", "key"), ("to_v", "value"), ("to_out.0", "proj_attn"))


def build(name):
    """The model `name`, always with the same weights."""
    config, _ = MODELS[name]
    levels = len(config["block_out_channels"])
    torch.manual_seed(0)
    model = AutoencoderKL(down_block_types=(ENCODE,) * levels, up_block_types=(DECODE,) * levels, sample_size=32, **config)
    return randomize(model, seed=300 + list(MODELS).index(name))


def moments(model, image):
    return model.encode(image).latent_dist.parameters


def old_name(name):
    if ".attentions." in name:
        for new, old in OLD_NAMES:
            name = name.replace(f".{new}.", f".{old}.")
    return name


@torch.no_grad()
def main():
    fresh(GOLDEN / "vae")
    for name, (config, cases) in MODELS.items():
        folder = fresh(GOLDEN / "vae" / name)
        model = build(name)
        model.save_pretrained(folder)
        if name == "old-attention-names":
            renamed = {old_name(key): value for key, value in model.state_dict().items()}
            write_tensors(folder / "diffusion_pytorch_model.safetensors", renamed)
            again = AutoencoderKL.from_pretrained(folder)
            assert all(torch.equal(a, b) for a, b in zip(again.parameters(), model.parameters(), strict=True))
        g = generator(9)
        for batch, height, width, latent_height, latent_width in cases:
            image = torch.rand(batch, 3, height, width, generator=g) * 2 - 1
            latents = torch.randn(batch, config["latent_channels"], latent_height, latent_width, generator=g)
            tensors = {"image": image, "moments": moments(model, image), "latents": latents, "decoded": model.decode(latents).sample}
            write_tensors(folder / f"case-{height}x{width}.safetensors", tensors)
            print(name, {key: tuple(value.shape) for key, value in tensors.items()}, f"std {tensors['moments'].std():.3f} {tensors['decoded'].std():.3f}")
        report(folder)


if __name__ == "__main__":
    main()
