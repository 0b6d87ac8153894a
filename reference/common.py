"""What every reference script shares: where goldens go, how weights are drawn, how cases are written."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
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


def described(scheduler):
    """What a scheduler is, as a case says it."""
    return {"class": type(scheduler).__name__,
            "config": {key: value for key, value in scheduler.config.items() if not key.startswith("_")}}


def keeping(tensors):
    """What a pipeline of diffusers calls after each step: keeps the latents among these tensors."""
    def keep(_, index, __, state):
        tensors[f"latents.{index}"] = state["latents"]
        return state
    return keep


def stacked(pictures):
    """Pictures of Pillow's as one tensor: uint8, [count, height, width, 3]."""
    return torch.from_numpy(np.stack([np.asarray(one) for one in pictures]))


def write_cases(folder, cases, make, ending=""):
    """
    Writes what `make` makes of each case: its tensors to a file by its name, and its settings into cases.json.
        cases: {name: (the arguments of `make`, the last a dict of those by name)}
        make: gives the settings and the tensors of one case, with its pictures among them
    """
    index = []
    for name, (*case, arguments) in cases.items():
        settings, tensors = make(*case, **arguments)
        write_tensors(folder / f"{name}{ending}.safetensors", tensors)
        index.append({"name": name, **settings})
        images = tensors["images"].float()
        print(name, "images", tuple(images.shape), f"std {images.std():.0f}", f"clipped {((images == 0) | (images == 255)).float().mean():.3f}")
    write_json(folder / "cases.json", index)


def report(folder):
    size = sum(f.stat().st_size for f in folder.rglob("*") if f.is_file())
    print(f"{folder.relative_to(GOLDEN.parent.parent)}  {size / 1024:.0f} KiB")
