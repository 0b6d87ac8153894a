"""
How long diffusers takes for the whole picture that bench/picture.ts measures, stage by stage; it runs this.

    python reference/bench_picture.py <folder of a model> fp32|bf16 <steps> <guidance>
"""

import json
import sys
import time
from pathlib import Path

import torch
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    StableDiffusionPipeline,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTokenizer

from common import as_people_run_it, generator
from full_models import clip_text


def pipeline(folder, dtype):
    schedule = json.loads((folder / "scheduler" / "scheduler_config.json").read_text())
    xl = (folder / "text_encoder_2").exists()
    tokenizers = {part: CLIPTokenizer.from_pretrained(folder / part, model_max_length=77)
                  for part in ("tokenizer", "tokenizer_2")[: 1 + xl]}
    encoders = {part: clip_text(folder, part, dtype) for part in ("text_encoder", "text_encoder_2")[: 1 + xl]}
    parts = {
        "unet": UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=dtype).eval(),
        "vae": AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=dtype).eval(),
        "scheduler": (EulerAncestralDiscreteScheduler if xl else EulerDiscreteScheduler).from_config(schedule),
        **tokenizers,
        **encoders,
    }
    if xl:
        return StableDiffusionXLPipeline(**parts, add_watermarker=False)
    return StableDiffusionPipeline(**parts, safety_checker=None, feature_extractor=None, requires_safety_checker=False)


@torch.no_grad()
def main(folder, precision, steps, guidance):
    as_people_run_it()
    stages = {}

    def timed(stage, work):
        began = time.perf_counter()
        result = work()
        stages[stage] = 1000 * (time.perf_counter() - began)
        return result

    guided = float(guidance) > 1
    pipe = timed("load", lambda: pipeline(Path(folder), {"fp32": torch.float32, "bf16": torch.bfloat16}[precision]))
    pipe.set_progress_bar_config(disable=True)
    encoded = timed("encode", lambda: pipe.encode_prompt(
        prompt="a red heart", device="cpu", num_images_per_prompt=1, do_classifier_free_guidance=guided))
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    latents = timed("denoise", lambda: pipe(
        **dict(zip(names, encoded)), num_inference_steps=int(steps), guidance_scale=float(guidance), width=512, height=512,
        generator=generator(7), output_type="latent").images)
    timed("decode", lambda: pipe.vae.decode(latents / pipe.vae.config.scaling_factor).sample)
    print(json.dumps(stages))


if __name__ == "__main__":
    main(*sys.argv[1:])
