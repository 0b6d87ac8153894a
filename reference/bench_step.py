"""
How long diffusers takes for what bench/step.ts measures; it runs this.

    python reference/bench_step.py <folder of a model> unet|decoder|encoder|text fp32|bf16 <repeats>
"""

import json
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.kolors.text_encoder import ChatGLMModel

from common import as_people_run_it, generator
from full_models import clip_text


def unet(folder, dtype):
    model = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype).eval()
    draw = lambda *shape: torch.randn(shape, generator=generator(len(shape))).to(dtype)
    xl = model.config.addition_embed_type is not None
    added = {"text_embeds": draw(1, 1280), "time_ids": torch.tensor([[512, 512, 0, 0, 512, 512]], dtype=dtype)}
    inputs = {"sample": draw(1, 4, 64, 64), "timestep": torch.tensor([500.0]),
              "encoder_hidden_states": draw(1, 77, model.config.cross_attention_dim),
              "added_cond_kwargs": added if xl else None}
    return lambda: model(**inputs).sample


def decoder(folder, dtype):
    model = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype).eval()
    latents = torch.randn(1, 4, 64, 64, generator=generator(4)).to(dtype) / model.config.scaling_factor
    return lambda: model.decode(latents).sample


def encoder(folder, dtype):
    model = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype).eval()
    image = torch.randn(1, 3, 512, 512, generator=generator(4)).to(dtype)
    return lambda: model.encode(image).latent_dist.parameters


def chatglm(folder, dtype):
    model = ChatGLMModel.from_pretrained(folder / "text_encoder", torch_dtype=dtype).eval()
    tokens, padding = 256, 40
    row = lambda of: torch.tensor([[0] * padding + [of(place) for place in range(tokens - padding)]])
    inputs = {"input_ids": row(lambda place: 3 + place * 331 % 60000), "attention_mask": row(lambda _: 1),
              "position_ids": row(lambda place: place)}
    return lambda: model(**inputs, output_hidden_states=True).hidden_states[-2].transpose(0, 1)


def text(folder, dtype):
    if json.loads((folder / "text_encoder" / "config.json").read_text())["model_type"] == "chatglm":
        return chatglm(folder, dtype)
    part = "text_encoder_2" if (folder / "text_encoder_2").exists() else "text_encoder"
    model = clip_text(folder, part, dtype)
    ids = torch.tensor([[k * 331 % 40000 for k in range(77)]])
    found = lambda: model(input_ids=ids, output_hidden_states=True)
    return lambda: found().hidden_states[-2] if part == "text_encoder_2" else found().last_hidden_state


PARTS = {"unet": unet, "decoder": decoder, "encoder": encoder, "text": text}


@torch.no_grad()
def main(folder, part, precision, repeats):
    as_people_run_it()
    run = PARTS[part](Path(folder), {"fp32": torch.float32, "bf16": torch.bfloat16}[precision])
    result = run()
    seconds = []
    for _ in range(int(repeats)):
        began = time.perf_counter()
        result = run()
        seconds.append(time.perf_counter() - began)
    print(json.dumps({"seconds": seconds, "result": result.float().flatten().tolist()}))


if __name__ == "__main__":
    main(*sys.argv[1:])
