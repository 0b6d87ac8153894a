"""
Files as torch.save writes them, in test/golden/torch/:

<form>-<name>.pt     the same content as a zip file ("zip") and in the form from before PyTorch 1.6 ("legacy"):
  types              one tensor of each element type that limn reads: 0, 1, 2... (false, true, false... for bool), a scalar,
                     an empty one, and types that limn does not read: int16, complex64, in the zip file float8_e4m3fn
  views              tensors that share one storage, transposed, sliced with steps, permuted, expanded; a Parameter
  checkpoint         a training checkpoint: "state_dict" beside numbers, texts, optimizer state and an unknown class
protocol-<n>.pt      a state dict pickled by protocol 3, 4 and 5
module.pt            a whole module: not a state dict
expected.safetensors the tensors of `views`, contiguous

Storages of the older form are named after places in memory, so those files differ from run to run.
"""

import collections

import torch
from common import GOLDEN, fresh, report, write_tensors

FOLDER = fresh(GOLDEN / "torch")
TYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int8, torch.uint8)


class Note:
    """A class that no reader has."""

    def __init__(self, text):
        self.text = text


def types(legacy):
    every = {str(dtype).removeprefix("torch."): torch.arange(6, dtype=dtype).reshape(2, 3) for dtype in TYPES}
    every["bool"] = torch.tensor([False, True, False])
    every["scalar"] = torch.tensor(-0.5)
    every["empty"] = torch.zeros((0, 4))
    every["int16"] = torch.zeros(3, dtype=torch.int16)
    every["complex64"] = torch.zeros(3, dtype=torch.complex64)
    if not legacy:
        every["float8_e4m3fn"] = torch.zeros(3).to(torch.float8_e4m3fn)
    return every


def views():
    base = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    return collections.OrderedDict(
        base=base, row=base[1], column=base[:, 1], transposed=base.transpose(0, 2), steps=base[:, ::2, 1::2],
        permuted=torch.arange(24, dtype=torch.float16).reshape(4, 6).t(), expanded=torch.tensor([[1], [2]]).expand(2, 3),
        parameter=torch.nn.Parameter(base[0].t()), tail=base.flatten()[20:])


def checkpoint():
    model = torch.nn.Linear(2, 3)
    optimizer = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        model.weight.copy_(torch.arange(6.0).reshape(3, 2))
        model.bias.copy_(torch.arange(3.0))
    state = collections.OrderedDict((f"model.{name}", value.detach()) for name, value in model.state_dict().items())
    return {"epoch": 3, "global_step": 2**40, "seed": 2**70, "rate": 0.25, "note": Note("纸船"), "done": True, "rest": None,
            "bytes": b"\0\xff", "set": {1}, "callbacks": {Note: {"best": torch.tensor(1.0)}}, "state_dict": state,
            "optimizer_states": [optimizer.state_dict()], "shape": torch.Size([1, 2]), "type": torch.float16}


def save(name, value, **options):
    torch.save(value, FOLDER / f"{name}.pt", **options)


for form, zipped in (("zip", True), ("legacy", False)):
    save(f"{form}-types", types(not zipped), _use_new_zipfile_serialization=zipped)
    save(f"{form}-views", views(), _use_new_zipfile_serialization=zipped)
    save(f"{form}-checkpoint", checkpoint(), _use_new_zipfile_serialization=zipped)
for protocol in (3, 4, 5):
    save(f"protocol-{protocol}", {"layer": {"weight": torch.ones(2), 0: torch.zeros(1)}, "bytes": b"\1" * 300, "frozen": frozenset("a")},
         pickle_protocol=protocol)
save("module", torch.nn.Linear(2, 3))
write_tensors(FOLDER / "expected.safetensors", views())
report(FOLDER)
