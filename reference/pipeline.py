"""
StableDiffusionPipeline: one tiny model folder, complete, and what it makes with five schedulers.

test/golden/pipeline/
  model/               model_index.json, unet, vae, text_encoder, tokenizer, scheduler: the published layout. The tokenizer
                       is CLIP's with only its first merges, so that the vocabulary is small.
  cases.json           [{ name, prompt, negativePrompt, seed, height, width, steps, guidanceScale, eta, imagesPerPrompt,
                       scheduler: { class, config } }]
  <name>.safetensors   input_ids int64 [2, 77] (negative, prompt), prompt_embeds and negative_prompt_embeds [1, 77, D],
                       latents.start (the noise scaled as the scheduler wants it), latents.<i> after the i-th call of the
                       model, images uint8 [N, H, W, 3]

The generator is the CPU's, seeded once per case. Needs `../shared/data/tokenizers/clip` beside the repository.
"""

import json
from functools import partial

import torch
from diffusers import (AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, PNDMScheduler, StableDiffusionPipeline, UNet2DConditionModel)
from transformers import CLIPTextConfig, CLIPTextModel

import clip_text
from common import GOLDEN, described, fresh, generator, keeping, randomize, report, stacked, write_cases, write_json

CLIP = GOLDEN.parent.parent.parent / "shared" / "data" / "tokenizers" / "clip"
FOLDER = GOLDEN / "pipeline"
MERGES = 250
WIDTH = 24
START, END = "<|startoftext|>", "<|endoftext|>"

PROMPT = "A photo of an astronaut riding a horse on Mars, café, 8k!"
NEGATIVE = "blurry, low quality"

# The noise schedule of Stable Diffusion 1.x; each class adds its own defaults.
SCHEDULE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
SD1 = dict(SCHEDULE, steps_offset=1, set_alpha_to_one=False)

# name: (scheduler, arguments)
CASES = {
    "ddim": (DDIMScheduler(**SD1, clip_sample=False), dict(height=64, width=64, steps=5)),
    "pndm": (PNDMScheduler(**SD1, skip_prk_steps=True), dict(height=80, width=112, steps=6)),
    "euler": (EulerDiscreteScheduler(**SCHEDULE, steps_offset=1), dict(height=64, width=64, steps=6, images=2)),
    "euler-ancestral": (EulerAncestralDiscreteScheduler(**SCHEDULE, steps_offset=1), dict(height=80, width=112, steps=7)),
    "dpm-solver-multistep": (DPMSolverMultistepScheduler(**SCHEDULE, steps_offset=1), dict(height=64, width=64, steps=8)),
    "ddim-unguided-noisy": (DDIMScheduler(**SD1, clip_sample=False), dict(height=64, width=64, steps=5, guidance=1.0, eta=0.5)),
}


def save_tokenizer(folder):
    """CLIP's vocabulary is 512 byte symbols, then one entry per merge, then the two marks: a prefix of it is a vocabulary."""
    folder.mkdir()
    lines = (CLIP / "merges.txt").read_text("utf8").split("\n")
    full = sorted(json.loads((CLIP / "vocab.json").read_text("utf8")).items(), key=lambda item: item[1])
    words = [word for word, _ in full[: 512 + MERGES]] + [START, END]
    (folder / "merges.txt").write_text("\n".join(lines[: 1 + MERGES]) + "\n", "utf8")
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}, ensure_ascii=False), "utf8")
    marks = {"bos_token": START, "eos_token": END, "pad_token": END, "unk_token": END}
    write_json(folder / "tokenizer_config.json", {"tokenizer_class": "CLIPTokenizer", "model_max_length": 77,
                                                  "do_lower_case": True, "add_prefix_space": False, **marks})
    write_json(folder / "special_tokens_map.json", marks)
    return len(words)


def save_model(folder):
    vocabulary = save_tokenizer(folder / "tokenizer")
    torch.manual_seed(0)
    text = CLIPTextModel(CLIPTextConfig(hidden_act="quick_gelu", hidden_size=WIDTH, intermediate_size=48, num_hidden_layers=2,
                                        num_attention_heads=3, vocab_size=vocabulary, max_position_embeddings=77,
                                        bos_token_id=0, eos_token_id=2, pad_token_id=1, projection_dim=WIDTH))
    (folder / "text_encoder").mkdir()
    clip_text.save(randomize(text, seed=400), folder / "text_encoder")
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
        cross_attention_dim=WIDTH, down_block_types=("CrossAttnDownBlock2D", "CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D", "CrossAttnUpBlock2D"))
    randomize(unet, seed=401).save_pretrained(folder / "unet")
    vae = AutoencoderKL(sample_size=64, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
                        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4)
    randomize(vae, seed=402).save_pretrained(folder / "vae")
    CASES["pndm"][0].save_pretrained(folder / "scheduler")
    write_json(folder / "model_index.json", {
        "_class_name": "StableDiffusionPipeline", "_diffusers_version": "0.2.2", "feature_extractor": [None, None],
        "requires_safety_checker": False, "safety_checker": [None, None], "scheduler": ["diffusers", "PNDMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]})


def make(pipe, scheduler, *, height, width, steps, guidance=7.5, eta=0.0, images=1):
    """One case: its settings and its tensors."""
    pipe.scheduler = scheduler
    settings = {"prompt": PROMPT, "negativePrompt": NEGATIVE, "seed": 17, "height": height, "width": width, "steps": steps,
                "guidanceScale": guidance, "eta": eta, "imagesPerPrompt": images,
                "scheduler": described(scheduler)}
    tokens = pipe.tokenizer([NEGATIVE, PROMPT], padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    embeds, negative = pipe.encode_prompt(PROMPT, "cpu", 1, True, NEGATIVE)
    tensors = {"input_ids": tokens.input_ids, "prompt_embeds": embeds, "negative_prompt_embeds": negative}

    scheduler.set_timesteps(steps)
    tensors["latents.start"] = pipe.prepare_latents(images, 4, height, width, torch.float32, "cpu", generator(17))

    pictures = pipe(PROMPT, negative_prompt=NEGATIVE, height=height, width=width, num_inference_steps=steps, guidance_scale=guidance,
                    eta=eta, num_images_per_prompt=images, generator=generator(17), callback_on_step_end=keeping(tensors)).images
    tensors["images"] = stacked(pictures)
    return settings, tensors


@torch.no_grad()
def main():
    fresh(FOLDER)
    save_model(fresh(FOLDER / "model"))
    pipe = StableDiffusionPipeline.from_pretrained(FOLDER / "model")
    pipe.set_progress_bar_config(disable=True)
    write_cases(FOLDER, CASES, partial(make, pipe))
    report(FOLDER)


if __name__ == "__main__":
    main()
