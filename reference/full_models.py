"""
What torch makes of each part of the full-size models that `npm run test:full` wrote into LIMN_FULL_DIR.

    python reference/full_models.py <folder>        about 20 GB of memory

<folder>/<model>/torch-<part>.safetensors   "in." and an input of limn's network, "out." and an output, float32 and int64
"""

import json
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import unet as denoisers
import vae as autoencoders
from common import generator, write_tensors

START, END, LENGTH = 49406, 49407, 77


def text_encoder(folder, part, penultimate):
    kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
    # JavaScript writes 1.0 as 1, which transformers takes for no float.
    config = json.loads((folder / part / "config.json").read_text()) | {"initializer_factor": 1.0, "attention_dropout": 0.0}
    model = kind.from_pretrained(folder / part, config=CLIPTextConfig(**config), dtype=torch.float32).eval()
    words = torch.randint(3, START, (1, 9), generator=generator(21))
    end = words.shape[1] + 1
    pad = 0 if part == "text_encoder_2" else END
    ids = torch.full((1, LENGTH), pad)
    ids[:, 0], ids[:, 1:end], ids[:, end] = START, words, END
    found = model(input_ids=ids, output_hidden_states=True)
    tensors = {"in.ids": ids, "out.state.0": found.hidden_states[-2] if penultimate else found.last_hidden_state}
    if part == "text_encoder_2":
        tensors |= {"in.end": torch.tensor([end]), "out.pooled": found.text_embeds}
    return {part: tensors}


def unet(folder):
    model = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval()
    size = model.config.sample_size
    tensors = denoisers.inputs(model, (1, size, size, LENGTH, [999]), generator(22))
    names = {"sample": "sample", "timestep": "timestep", "encoder_hidden_states": "encoderHiddenStates",
             "text_embeds": "textEmbeds", "time_ids": "timeIds"}
    return {"unet": {f"in.{names[name]}": value for name, value in tensors.items()}
            | {"out.output": denoisers.run(model, tensors)}}


def vae(folder):
    model = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
    size = json.loads((folder / "unet" / "config.json").read_text())["sample_size"]
    g = generator(23)
    image = torch.rand(1, 3, 8 * size, 8 * size, generator=g) * 2 - 1
    latents = torch.randn(1, model.config.latent_channels, size, size, generator=g)
    return {"vae-encoder": {"in.image": image, "out.moments": autoencoders.moments(model, image)},
            "vae-decoder": {"in.latents": latents,
                            "out.image": model.decode(latents / model.config.scaling_factor).sample}}


@torch.no_grad()
def main(root):
    for folder in sorted(path.parent for path in root.glob("*/model_index.json")):
        both = (folder / "text_encoder_2").exists()
        texts = ["text_encoder", "text_encoder_2"] if both else ["text_encoder"]
        # One part after the other, so that only one is in memory.
        for make in [*(lambda part=part: text_encoder(folder, part, both) for part in texts), lambda: unet(folder),
                     lambda: vae(folder)]:
            began = time.perf_counter()
            for name, tensors in make().items():
                write_tensors(folder / f"torch-{name}.safetensors", tensors)
                stds = ", ".join(f"{key} std {value.std():.3f}" for key, value in tensors.items() if key.startswith("out."))
                print(f"{folder.name} {name}: {stds}; {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
