"""
Writes resize.safetensors: random pictures and what Pillow's filters make of them. `<n>.from`, `<n>.to` (Lanczos) and `<n>.cubic` are
uint8 [height, width, 3]. Widths change first, then heights, as Pillow did before 13, which chooses the faster order.
"""

import numpy as np
import torch
from PIL import Image

from common import GOLDEN, write_tensors

# (width, height) before and after: smaller, larger, both at once, odd, one pixel, the same.
SIZES = [((40, 30), (16, 16)), ((13, 9), (32, 24)), ((50, 7), (8, 24)), ((7, 50), (24, 8)), ((64, 64), (40, 56)), ((1, 1), (8, 8)),
         ((33, 21), (1, 1)), ((16, 24), (16, 24)), ((16, 24), (16, 8))]

random = np.random.default_rng(5)
tensors = {}
for n, (before, after) in enumerate(SIZES):
    width, height = before
    # Noise of the full range rings beyond 0 and 255, which the filter must cut off.
    picture = random.choice([0, 255, 128, 17], size=(height, width, 3)).astype(np.uint8)
    tensors[f"{n}.from"] = torch.from_numpy(picture)
    for name, filter in (("to", Image.Resampling.LANCZOS), ("cubic", Image.Resampling.BICUBIC)):
        across = Image.fromarray(picture).resize((after[0], height), filter)
        tensors[f"{n}.{name}"] = torch.from_numpy(np.asarray(across.resize(after, filter)).copy())
write_tensors(GOLDEN / "resize.safetensors", tensors)
