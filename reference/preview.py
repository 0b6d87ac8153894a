"""
The linear map from latents to colours that comes nearest to TAESD: its decoder on smooth random latents, each 8x8 pixels as
one, by least squares.

test/golden/preview.json   by latent space, "taesd" (SD 1.x) and "taesdxl" (SDXL):
  factors   a row of red, green and blue for each latent channel, and a last one that is added, to give [-1, 1]
  error     root mean square of what the map misses, over the deviation of what it should give

The weights are read in `../shared/data/taesd` beside the repository.
"""

import torch
from torch.nn.functional import avg_pool2d, interpolate

from common import GOLDEN, generator, write_json
from taesd import published

PICTURES, SIDE = 24, 16


def smooth_latents(g):
    """Of unit deviation, each at one of four scales: latents of pictures change slowly, with details on top."""
    noise = [torch.randn(PICTURES, 4, SIDE // k, SIDE // k, generator=g) for k in (16, 8, 4, 1)]
    grown = [interpolate(n, size=(SIDE, SIDE), mode="bilinear", align_corners=False) for n in noise]
    weights = torch.tensor((1.0, 0.6, 0.5, 0.2))
    mixed = sum(w * n / n.std() for w, n in zip(weights, grown))
    return mixed / weights.square().sum().sqrt()


@torch.no_grad()
def main():
    found = {}
    for name in ("taesd", "taesdxl"):
        latents = smooth_latents(generator(11))
        model = published(name)
        colours = torch.cat([avg_pool2d(model.decode(one[None]).sample.clamp(-1, 1), 8) for one in latents])
        x = latents.permute(0, 2, 3, 1).reshape(-1, 4).double()
        x = torch.cat([x, torch.ones(len(x), 1, dtype=x.dtype)], 1)
        y = colours.permute(0, 2, 3, 1).reshape(-1, 3).double()
        factors = torch.linalg.lstsq(x, y).solution
        error = (x @ factors - y).square().mean().sqrt() / y.std()
        found[name] = {"factors": [[round(v, 4) for v in row] for row in factors.tolist()], "error": round(error.item(), 4)}
        print(name, found[name])
    write_json(GOLDEN / "preview.json", found)


if __name__ == "__main__":
    main()
