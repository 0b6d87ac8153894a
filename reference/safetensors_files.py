"""
Files as the safetensors library writes them, in test/golden/safetensors/:

every-type.safetensors     one tensor of each element type that limn reads: 0, 1, 2... (false, true, false... for bool),
                           a scalar and an empty one, and a Chinese note in the metadata
foreign-types.safetensors  a float32 tensor beside types that limn does not read: F8_E4M3 and I16
"""

import torch
from common import GOLDEN, fresh, report
from safetensors.torch import save_file

FOLDER = fresh(GOLDEN / "safetensors")
TYPES = {
    "float64": torch.float64,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "int64": torch.int64,
    "int32": torch.int32,
    "int8": torch.int8,
    "uint8": torch.uint8,
}

every = {name: torch.arange(6, dtype=dtype).reshape(2, 3) for name, dtype in TYPES.items()}
every["bool"] = torch.tensor([False, True, False])
every["scalar"] = torch.tensor(-0.5)
every["empty"] = torch.zeros((0, 4))
save_file(every, FOLDER / "every-type.safetensors", metadata={"note": "纸船 \"boat\""})

foreign = {
    "weight": torch.tensor([1.0, 2.0]),
    "scaled": torch.zeros((3, 1)).to(torch.float8_e4m3fn),
    "short": torch.zeros(2, dtype=torch.int16),
}
save_file(foreign, FOLDER / "foreign-types.safetensors")
report(FOLDER)
