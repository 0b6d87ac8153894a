"""
AutoencoderTiny: a tiny random one, and TAESD itself.

test/golden/taesd/random/
  config.json, diffusion_pytorch_model.safetensors
  case-*.safetensors   image [B, 3, H, W] -> encoded [B, L, h, w];  latents [B, L, h', w'] -> decoded [B, 3, H', W']
test/golden/taesd/published/{taesd,taesdxl}.safetensors
  the same of the published weights, which are not here: the script and the test read them in `../shared/data/taesd` beside the repository.
"""

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import load_file

from common import GOLDEN, fresh, generator, randomize, report, write_tensors

WEIGHTS = GOLDEN.parent.parent.parent / "shared" / "data" / "taesd"
RANDOM = dict(
    encoder_block_out_channels=(8,) * 4, decoder_block_out_channels=(12,) * 4, num_encoder_blocks=(1, 0, 2, 1),
    num_decoder_blocks=(2, 1, 0, 1),
)


def published(name):
    """TAESD as its author publishes it: each half in a file of its own, layers numbered through."""
    model = AutoencoderTiny().eval()
    halves = {}
    for half, offset in (("encoder", 0), ("decoder", -1)):
        for key, value in load_file(WEIGHTS / f"{name}_{half}.safetensors").items():
            layer, rest = key.split(".", 1)
            halves[f"{half}.layers.{int(layer) + offset}.{rest}"] = value.float()
    model.load_state_dict(halves)
    return model


def case(model, image, latents):
    return {"image": image, "encoded": model.encode(image).latents, "latents": latents, "decoded": model.decode(latents).sample}


@torch.no_grad()
def main():
    folder = fresh(GOLDEN / "taesd" / "random")
    torch.manual_seed(0)
    model = randomize(AutoencoderTiny(**RANDOM), seed=600)
    model.save_pretrained(folder)
    g = generator(9)
    for batch, height, width in ((1, 19, 26), (2, 16, 24)):
        image = torch.rand(batch, 3, height, width, generator=g) * 2 - 1
        # So large that they are pressed together.
        latents = 3 * torch.randn(batch, 4, 3, 4, generator=g)
        write_tensors(folder / f"case-{height}x{width}.safetensors", case(model, image, latents))
    folder = fresh(GOLDEN / "taesd" / "published")
    for name in ("taesd", "taesdxl"):
        image = torch.rand(1, 3, 24, 40, generator=g) * 2 - 1
        latents = torch.randn(1, 4, 3, 5, generator=g)
        tensors = case(published(name), image, latents)
        write_tensors(folder / f"{name}.safetensors", tensors)
        print(name, *(f"{key} {value.mean():.3f} {value.std():.3f}" for key, value in tensors.items()))
    report(GOLDEN / "taesd")


if __name__ == "__main__":
    main()
