"""
torch.optim.AdamW, clip_grad_norm_, get_cosine_schedule_with_warmup and diffusers' EMAModel on a small problem.

test/golden/adamw/{plain,scheduled}.json
  settings, initial {name: tensor}, steps [{ gradients, norm, learningRate, parameters }]: `gradients` as they come,
  `norm` their joint length before clipping (null: not clipped), `learningRate` of this step, `parameters` after it
test/golden/adamw/{ema,ema-warmup}.json
  settings, initial, steps [{ parameters, decay, shadow }]: `decay` used at this step, `shadow` after it

A tensor is { shape, values }, its values float32 written as decimals.
"""

import json

import torch
from diffusers.optimization import get_cosine_schedule_with_warmup
from diffusers.training_utils import EMAModel

from common import GOLDEN, fresh, generator, report

SHAPES = {"weight": (3, 4), "bias": (5,), "kernel": (2, 2, 1, 3)}
STEPS = 20


def tensor(value):
    return {"shape": list(value.shape), "values": [float(x) for x in value.detach().flatten()]}


def tensors(values):
    return {name: tensor(value) for name, value in values.items()}


def draw(g, scale=1.0):
    return {name: scale * torch.randn(shape, generator=g) for name, shape in SHAPES.items()}


def adamw(seed, learning_rate, weight_decay, warmup_steps=None, max_norm=None):
    g = generator(seed)
    parameters = {name: torch.nn.Parameter(value) for name, value in draw(g).items()}
    initial = tensors(parameters)
    optimizer = torch.optim.AdamW(parameters.values(), lr=learning_rate, betas=(0.9, 0.999), eps=1e-8,
                                  weight_decay=weight_decay, foreach=False)
    schedule = None if warmup_steps is None else get_cosine_schedule_with_warmup(optimizer, warmup_steps, STEPS)
    steps = []
    for index in range(STEPS):
        # Lengths from 0.1 to 10, so that some steps are clipped and some are not; one step has no gradient at all.
        gradients = draw(g, scale=0.0 if index == 7 else 10.0 ** (index % 5 / 2 - 1) / 5)
        for name, parameter in parameters.items():
            parameter.grad = gradients[name].clone()
        norm = None if max_norm is None else torch.nn.utils.clip_grad_norm_(parameters.values(), max_norm, foreach=False).item()
        rate = optimizer.param_groups[0]["lr"]
        optimizer.step()
        if schedule is not None:
            schedule.step()
        steps.append({"gradients": tensors(gradients), "norm": norm, "learningRate": rate, "parameters": tensors(parameters)})
    settings = {"learningRate": learning_rate, "beta1": 0.9, "beta2": 0.999, "epsilon": 1e-8, "weightDecay": weight_decay,
                "warmupSteps": warmup_steps, "totalSteps": STEPS, "maxNorm": max_norm}
    return {"settings": settings, "initial": initial, "steps": steps}


def ema(seed, **settings):
    g = generator(seed)
    parameters = [torch.nn.Parameter(value) for value in draw(g).values()]
    initial = tensors(dict(zip(SHAPES, parameters, strict=True)))
    average = EMAModel(parameters, foreach=False, **settings)
    steps = []
    for _ in range(STEPS):
        with torch.no_grad():
            for parameter, change in zip(parameters, draw(g, scale=0.1).values(), strict=True):
                parameter.add_(change)
        average.step(parameters)
        steps.append({"parameters": tensors(dict(zip(SHAPES, parameters, strict=True))), "decay": average.cur_decay_value,
                      "shadow": tensors(dict(zip(SHAPES, average.shadow_params, strict=True)))})
    keys = {"decay": "decay", "min_decay": "minDecay", "update_after_step": "updateAfterStep", "use_ema_warmup": "warmup",
            "inv_gamma": "inverseGamma", "power": "power"}
    state = average.state_dict()
    return {"settings": {ours: state[theirs] for theirs, ours in keys.items()}, "initial": initial, "steps": steps}


if __name__ == "__main__":
    folder = fresh(GOLDEN / "adamw")
    cases = {
        "plain": adamw(13, learning_rate=1e-3, weight_decay=0.01),
        "scheduled": adamw(14, learning_rate=2e-2, weight_decay=0.1, warmup_steps=5, max_norm=1.0),
        "ema": ema(15, decay=0.9999),
        "ema-warmup": ema(16, decay=0.9999, use_ema_warmup=True, inv_gamma=1.0, power=2 / 3),
    }
    for name, case in cases.items():
        rows = ",\n    ".join(json.dumps(step) for step in case["steps"])
        (folder / f"{name}.json").write_text(
            f'{{\n  "settings": {json.dumps(case["settings"])},\n  "initial": {json.dumps(case["initial"])},\n'
            f'  "steps": [\n    {rows}\n  ]\n}}\n')
    report(folder)
