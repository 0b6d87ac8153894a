"""
The U-Net of Stable Diffusion 1.x at full size (859,520,964 parameters) with random weights, for `npm run test:full`.

    python reference/full_unet.py <folder>        3.4 GB on disk; set LIMN_FULL_DIR=<folder> for the test

<folder>/
  config.json, diffusion_pytorch_model.safetensors   float32
  case-64x64.safetensors   sample [1, 4, 64, 64], timestep [1], encoder_hidden_states [1, 77, 768] -> output
"""

import sys
import time
from pathlib import Path

import torch
from diffusers import UNet2DConditionModel

from common import generator, randomize, write_tensors
from unet import inputs, run

PARAMETERS = 859_520_964


@torch.no_grad()
def main(folder):
    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(0)
    model = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
    assert sum(parameter.numel() for parameter in model.parameters()) == PARAMETERS
    randomize(model, seed=500)
    model.save_pretrained(folder)
    tensors = inputs(model, (1, 64, 64, 77, [981]), generator(18))
    began = time.perf_counter()
    tensors["output"] = run(model, tensors)
    print(f"one call {time.perf_counter() - began:.1f} s, output std {tensors['output'].std():.3f}")
    write_tensors(folder / "case-64x64.safetensors", tensors)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
