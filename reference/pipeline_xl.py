"""
StableDiffusionXLPipeline: one tiny model folder, complete, and what it makes as SDXL and as SDXL-Turbo.

test/golden/pipeline-xl/
  model/               as published: two tokenizers (the second pads with "!") and two text encoders, the second projecting
  cases.json           [{ name, prompt, negativePrompt (null where none is given), seed, height, width, steps, guidanceScale,
                       imagesPerPrompt, clipSkip, scheduler: { class, config } }]
  <name>.safetensors   prompt_embeds [1, 77, D], pooled_prompt_embeds [1, P] [, negative_prompt_embeds,
                       negative_pooled_prompt_embeds], latents.<i> after the i-th call of the model, images uint8 [N, H, W, 3]

Needs `../shared/data/tokenizers/clip` beside the repository.
"""

import json
from functools import partial

import torch
from diffusers import (AutoencoderKL, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler, StableDiffusionXLPipeline,
                       UNet2DConditionModel)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

import clip_text
from common import GOLDEN, described, fresh, generator, keeping, randomize, report, stacked, write_cases, write_json
from pipeline import END, NEGATIVE, PROMPT, SCHEDULE, save_tokenizer

FOLDER = GOLDEN / "pipeline-xl"
WIDTHS = (16, 24)
POOLED = 20
TIME = 8

BASE = EulerDiscreteScheduler(**SCHEDULE, steps_offset=1)
TURBO = EulerAncestralDiscreteScheduler(**SCHEDULE, steps_offset=1, timestep_spacing="trailing")

# name: (scheduler, arguments)
CASES = {
    "guided": (BASE, dict(negative=NEGATIVE, height=64, width=64, steps=4, guidance=5.0)),
    "no-negative": (BASE, dict(negative=None, height=80, width=112, steps=3, guidance=7.0, images=2)),
    # No negative prompt, since diffusers skips no layer of that one.
    "skipped": (BASE, dict(negative=None, height=48, width=72, steps=3, guidance=5.0, skip=1)),
    "turbo": (TURBO, dict(negative=None, height=64, width=64, steps=1, guidance=0.0)),
    "turbo-four": (TURBO, dict(negative=None, height=64, width=72, steps=4, guidance=0.0)),
}


def text_config(width, layers, heads, act, vocabulary):
    return CLIPTextConfig(hidden_act=act, hidden_size=width, intermediate_size=2 * width, num_hidden_layers=layers,
                          num_attention_heads=heads, vocab_size=vocabulary, max_position_embeddings=77, bos_token_id=0,
                          eos_token_id=2, pad_token_id=1, projection_dim=POOLED)


def save_model(folder):
    vocabulary = save_tokenizer(folder / "tokenizer")
    save_tokenizer(folder / "tokenizer_2")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        path = folder / "tokenizer_2" / name
        write_json(path, json.loads(path.read_text()) | {"pad_token": "!"})
    torch.manual_seed(0)
    first = CLIPTextModel(text_config(WIDTHS[0], 3, 2, "quick_gelu", vocabulary))
    second = CLIPTextModelWithProjection(text_config(WIDTHS[1], 4, 3, "gelu", vocabulary))
    for name, model, seed in (("text_encoder", first, 500), ("text_encoder_2", second, 501)):
        (folder / name).mkdir()
        clip_text.save(randomize(model, seed=seed), folder / name)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=(1, 2, 4),
        cross_attention_dim=sum(WIDTHS), use_linear_projection=True, transformer_layers_per_block=(1, 1, 2),
        addition_embed_type="text_time", addition_time_embed_dim=TIME,
        projection_class_embeddings_input_dim=POOLED + 6 * TIME,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"))
    randomize(unet, seed=502).save_pretrained(folder / "unet")
    vae = AutoencoderKL(sample_size=64, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
                        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                        scaling_factor=0.13025, force_upcast=True)
    randomize(vae, seed=503).save_pretrained(folder / "vae")
    BASE.save_pretrained(folder / "scheduler")
    write_json(folder / "model_index.json", {
        "_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.19.0", "force_zeros_for_empty_prompt": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "text_encoder_2": ["transformers", "CLIPTextModelWithProjection"],
        "tokenizer": ["transformers", "CLIPTokenizer"], "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]})


def make(pipe, scheduler, *, negative, height, width, steps, guidance, images=1, skip=None):
    """One case: its settings and its tensors."""
    pipe.scheduler = scheduler
    settings = {"prompt": PROMPT, "negativePrompt": negative, "seed": 23, "height": height, "width": width, "steps": steps,
                "guidanceScale": guidance, "imagesPerPrompt": images, "clipSkip": skip or 0,
                "scheduler": described(scheduler)}
    embeds, negatives, pooled, negatives_pooled = pipe.encode_prompt(
        PROMPT, device="cpu", do_classifier_free_guidance=guidance > 1, negative_prompt=negative, clip_skip=skip)
    tensors = {"prompt_embeds": embeds, "pooled_prompt_embeds": pooled}
    if guidance > 1:
        tensors |= {"negative_prompt_embeds": negatives, "negative_pooled_prompt_embeds": negatives_pooled}

    pictures = pipe(PROMPT, negative_prompt=negative, height=height, width=width, num_inference_steps=steps,
                    guidance_scale=guidance, num_images_per_prompt=images, clip_skip=skip, generator=generator(23),
                    callback_on_step_end=keeping(tensors)).images
    tensors["images"] = stacked(pictures)
    return settings, tensors


@torch.no_grad()
def main():
    fresh(FOLDER)
    save_model(fresh(FOLDER / "model"))
    pipe = StableDiffusionXLPipeline.from_pretrained(FOLDER / "model", add_watermarker=False)
    assert pipe.tokenizer_2.pad_token == "!" and pipe.tokenizer.pad_token == END
    pipe.set_progress_bar_config(disable=True)
    write_cases(FOLDER, CASES, partial(make, pipe))
    report(FOLDER)


if __name__ == "__main__":
    main()
