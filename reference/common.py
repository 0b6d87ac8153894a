"""What every reference script shares: where goldens go, how weights are drawn, how cases are written."""

import json
import os
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file

GOLDEN = Path(__file__).resolve().parent.parent / "test" / "golden"

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def as_people_run_it():
    """Undoes the above, by which goldens are the same bits everywhere, and slow: for benchmarks."""
    torch.set_num_threads(os.cpu_count())
    torch.use_deterministic_algorithms(False)


def generator(seed):
    return torch.Generator("cpu").manual_seed(seed)


def fresh(folder):
    """An empty folder, so that a renamed case leaves nothing behind."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def randomize(model, seed):
    """
    Draws every parameter anew: matrices and kernels with unit gain, so that no branch is faint beside its residual;
    vectors (biases, norm scales) as their initial value plus a tenth of a normal, so that a swapped bias shows. Seed torch before constructing the model: initial values come from its global generator.
    """
    g = generator(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=g)
            if parameter.dim() == 1:
                parameter.add_(0.1 * noise)
            else:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
    return model.eval()


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2) + "\n")


def write_tensors(path, tensors):
    save_file({name: t.detach().contiguous().clone() for name, t in tensors.items()}, path, metadata={"format": "pt"})


def report(folder):
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{folder.relative_to(GOLDEN.parent.parent)}  {size / 1024:.0f} KiB")
