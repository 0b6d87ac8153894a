"""
Writes generators.json: draws of PyTorch's CPU generator that rng.json lacks. Large draws are kept as the SHA-256 of
their bytes, with one number drawn after them, so that every bit and the generator's position are held.
"""

import hashlib
import json

import torch

from common import GOLDEN, generator


def digest(tensor):
    return hashlib.sha256(tensor.contiguous().view(torch.uint8).numpy().tobytes()).hexdigest()


def large(seed, n, dtype):
    g = generator(seed)
    values = torch.randn(n, generator=g, dtype=dtype)
    after = torch.rand(1, generator=g).item()
    return {"seed": str(seed), "n": n, "dtype": str(dtype)[6:], "sha256": digest(values), "after": after}


def uniform(seed, n, dtype):
    values = torch.rand(n, generator=generator(seed), dtype=dtype)
    return {"seed": str(seed), "n": n, "dtype": str(dtype)[6:], "sha256": digest(values)}


def integers(seed, low, high):
    values = torch.randint(low, high, (6,), generator=generator(seed))
    return {"seed": str(seed), "low": low, "high": high, "values": values.tolist()}


def mixed(seed):
    """Every kind of draw from one generator, so that each must take exactly its share of the stream."""
    g = generator(seed)
    return {
        "seed": str(seed),
        "randn3": torch.randn(3, generator=g).tolist(),
        "randn16": torch.randn(16, generator=g).tolist(),
        "rand5": torch.rand(5, generator=g, dtype=torch.float64).tolist(),
        "randn2": torch.randn(2, generator=g, dtype=torch.float64).tolist(),
        "randperm33": torch.randperm(33, generator=g).tolist(),
        "half17": torch.randn(17, generator=g, dtype=torch.float16).tolist(),
        "randint": torch.randint(0, 1000, (4,), generator=g).tolist(),
        "randn7": torch.randn(7, generator=g).tolist(),
    }


seeds = [0, 7, 2**32 + 5, 2**63, 2**64 - 1]
halves = [torch.float16, torch.bfloat16]
golden = {
    "torch": torch.__version__.split("+")[0],
    "randn": [large(seed, n, torch.float32) for seed in seeds for n in (65536, 70001)]
    + [large(3, n, dtype) for dtype in halves for n in (15, 16384, 5003)],
    "rand": [uniform(3, 20011, dtype) for dtype in [torch.float32, torch.float64, *halves]],
    "randint": [
        integers(7, low, high)
        for low, high in [(-50, 100), (0, 2**28 - 1), (0, 2**28), (0, 2**32), (-(2**40), 2**40), (5, 6)]
    ],
    "mixed": [mixed(seed) for seed in seeds],
}
(GOLDEN / "generators.json").write_text(json.dumps(golden, separators=(",", ":")) + "\n")
