"""
What Stable Diffusion 1.4's file calls its tensors, and what diffusers calls them.

test/golden/keys/ldm_sd14.txt.gz   name in the file, name in diffusers with its part ("unet." or "vae."), shape in the file

diffusers' own converter says which is which: each tensor goes through it with a number of its own. Needs
`../shared/keys/ldm_sd14.txt` beside the repository.
"""

import gzip
import json

import torch
from diffusers.loaders.single_file_utils import convert_ldm_unet_checkpoint, convert_ldm_vae_checkpoint

from common import GOLDEN

KEYS = GOLDEN.parent.parent.parent / "shared" / "keys" / "ldm_sd14.txt"
UNET = dict(layers_per_block=2, class_embed_type=None, addition_embed_type=None)
VAE = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)


def main():
    lines = [line.split("\t") for line in KEYS.read_text().strip().split("\n")]
    numbered = {name: torch.full([1] * len(json.loads(shape)), float(i)) for i, (name, shape) in enumerate(lines)}
    parts = {"unet": convert_ldm_unet_checkpoint(dict(numbered), UNET), "vae": convert_ldm_vae_checkpoint(dict(numbered), VAE)}
    ours = {int(value.item()): f"{part}.{name}" for part, tensors in parts.items() for name, value in tensors.items()}
    rows = "".join(f"{name}\t{ours[i]}\t{shape}\n" for i, (name, shape) in enumerate(lines))
    path = GOLDEN / "keys" / "ldm_sd14.txt.gz"
    path.write_bytes(gzip.compress(rows.encode(), mtime=0))
    print(path.relative_to(GOLDEN.parent.parent), len(lines), "names")


if __name__ == "__main__":
    main()
