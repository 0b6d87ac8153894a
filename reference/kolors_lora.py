"""
LoRAs as Kolors' DreamBooth script saves them, and what its script of inference draws with the tiny model of `pipeline_kolors.py`.

test/golden/kolors-lora/
  checkpoint/          pytorch_lora_weights.safetensors, of the U-Net, as diffusers writes it; adapter_config.json and
                       adapter_model.safetensors, of the text encoder, as PEFT does
  cases.json           [{ name, unet: scale or null, text: whether the text encoder has its adapter, prompt, negativePrompt, seed,
                       height, width, steps, guidanceScale, scheduler: { class, config } }]
  <name>.safetensors   prompt_embeds, pooled_prompt_embeds; latents after the last step; images uint8 [1, H, W, 3]

The script gives the U-Net's adapter a weight of 0.8, and then wraps the text encoder with its own, whole.
"""

import copy
import json
from functools import partial

import torch
from diffusers import KolorsPipeline, StableDiffusionXLPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, PeftModel, get_peft_model
from peft.utils import get_peft_model_state_dict

from common import GOLDEN, described, fresh, generator, report, stacked, write_cases, write_json
from kolors_inpaint import open_parts
from lora import ATTENTION, draw_factors
from pipeline_kolors import EULER, NEGATIVE, PROMPT

FOLDER = GOLDEN / "kolors-lora"
CHECKPOINT = FOLDER / "checkpoint"

# name: (scale of the U-Net's, whether the text encoder has its own)
CASES = {
    "dreambooth": (0.8, dict(with_text=True)),
    "less": (0.3, dict(with_text=True)),
    "unet": (0.8, dict(with_text=False)),
    "text": (None, dict(with_text=True)),
}


def save(parts):
    CHECKPOINT.mkdir()
    unet, text = copy.deepcopy(parts["unet"]), copy.deepcopy(parts["text_encoder"])
    unet.add_adapter(LoraConfig(r=4, lora_alpha=4, init_lora_weights="gaussian", target_modules=ATTENTION))
    draw_factors(unet, 860)
    layers = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionXLPipeline.save_lora_weights(CHECKPOINT, unet_lora_layers=layers)
    text = get_peft_model(text, LoraConfig(r=3, lora_alpha=4, init_lora_weights="gaussian", target_modules=["query_key_value"]))
    draw_factors(text, 861)
    text.save_pretrained(CHECKPOINT)
    (CHECKPOINT / "README.md").unlink(missing_ok=True)
    # The same bytes wherever they are made.
    config = CHECKPOINT / "adapter_config.json"
    write_json(config, dict(sorted(json.loads(config.read_text()).items())))


def make(parts, scale, with_text):
    parts = parts | {name: copy.deepcopy(parts[name]) for name in ("unet", "text_encoder")}
    pipe = KolorsPipeline(**parts, force_zeros_for_empty_prompt=False)
    pipe.set_progress_bar_config(disable=True)
    if scale is not None:
        pipe.load_lora_weights(CHECKPOINT, weight_name="pytorch_lora_weights.safetensors", adapter_name="given")
        pipe.set_adapters(["given"], [scale])
    if with_text:
        pipe.text_encoder = PeftModel.from_pretrained(pipe.text_encoder, CHECKPOINT).eval()
    tensors = {}

    def keep(_, __, ___, state):
        tensors["latents"] = state["latents"]
        return state

    embeds, _, pooled, _ = pipe.encode_prompt(PROMPT, device="cpu", negative_prompt=NEGATIVE)
    size = dict(height=48, width=64)
    pictures = pipe(PROMPT, negative_prompt=NEGATIVE, num_inference_steps=4, guidance_scale=5.0, generator=generator(0),
                    callback_on_step_end=keep, **size).images
    tensors |= {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled,
                "images": stacked(pictures)}
    return {"unet": scale, "text": with_text, "prompt": PROMPT, "negativePrompt": NEGATIVE, "seed": 0, **size, "steps": 4,
            "guidanceScale": 5.0, "scheduler": described(EULER)}, tensors


@torch.no_grad()
def main():
    fresh(FOLDER)
    parts = open_parts()
    parts["scheduler"] = EULER
    save(parts)
    write_cases(FOLDER, CASES, partial(make, parts))
    report(FOLDER)


if __name__ == "__main__":
    main()
