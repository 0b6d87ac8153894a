"""
AutoencoderKL in tiles, as diffusers' `enable_tiling` decodes and encodes.

test/golden/vae-tiled.safetensors   by `vae/old-attention-names`, in tiles of 32 pixels, 4 latents:
  latents [1, 4, 9, 15] -> decoded [1, 3, 72, 120];  image [1, 3, 72, 120] -> moments [1, 8, 9, 15]
"""

import torch

from common import GOLDEN, generator, write_tensors
from vae import build, moments


@torch.no_grad()
def main():
    model = build("old-attention-names")
    model.enable_tiling()
    assert model.tile_latent_min_size == 4 and model.tile_sample_min_size == 32
    g = generator(10)
    latents = torch.randn(1, 4, 9, 15, generator=g)
    image = torch.rand(1, 3, 72, 120, generator=g) * 2 - 1
    tensors = {"latents": latents, "decoded": model.decode(latents).sample, "image": image, "moments": moments(model, image)}
    model.disable_tiling()
    for key, whole in (("decoded", model.decode(latents).sample), ("moments", moments(model, image))):
        print(key, tuple(whole.shape), f"in tiles, differs from the whole by {(whole - tensors[key]).abs().max() / whole.abs().max():.3f}")
    path = GOLDEN / "vae-tiled.safetensors"
    write_tensors(path, tensors)
    print(f"{path.name}  {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
