"""
KolorsPipeline and KolorsImg2ImgPipeline: one tiny model in both published layouts, and what it makes.

test/golden/pipeline-kolors/
  model/               as Kwai-Kolors/Kolors-diffusers: half precision alone, the text encoder in shards under the old name
                       of their index. The tokenizer is a small one of ChatGLM's kind.
  original/            what Kwai-Kolors/Kolors has otherwise: model_index.json of an SDXL, and text_encoder with PyTorch's
                       shards, the first publishers' names, and the tokenizer beside them
  cases.json           [{ name, verb, prompt, negativePrompt (null where none is given), seed, height, width, steps, guidanceScale,
                       strength, imagesPerPrompt, scheduler: { class, config } }]
  <name>.safetensors   input_ids, attention_mask, position_ids int64 [2, 256] (negative, prompt) [, prompt_embeds and
                       negative_prompt_embeds [1, 256, D], pooled_prompt_embeds and negative_pooled_prompt_embeds [1, D]],
                       latents.<i> after the i-th call of the model [, image uint8 [H, W, 3]], images uint8 [N, H, W, 3]
"""

import shutil
from functools import partial

import numpy as np
import torch
from diffusers import (AutoencoderKL, DPMSolverMultistepScheduler, EDMDPMSolverMultistepScheduler, EulerDiscreteScheduler,
                       KolorsImg2ImgPipeline, KolorsPipeline, UNet2DConditionModel)
from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer
from PIL import Image

import chatglm
from common import GOLDEN, described, fresh, generator, keeping, randomize, report, stacked, write_cases, write_json, write_tensors
from given_pictures import picture

FOLDER = GOLDEN / "pipeline-kolors"
WIDTH = 24
TIME = 8

PROMPT = '一张瓢虫的照片，微距，变焦，高质量，电影，拿着一个牌子，写着"可图"'
NEGATIVE = "blurry, low quality，模糊"
CAT = "A photo of a cat"

# scheduler_config.json of Kolors, but for keys of other classes.
SCHEDULE = dict(beta_start=0.00085, beta_end=0.014, beta_schedule="scaled_linear", num_train_timesteps=1100)
EULER = EulerDiscreteScheduler(**SCHEDULE, steps_offset=1, timestep_spacing="leading")
SOLVER = DPMSolverMultistepScheduler(**SCHEDULE, steps_offset=1, timestep_spacing="leading", use_karras_sigmas=True)
EDM = EDMDPMSolverMultistepScheduler()

# name: (scheduler, arguments)
CASES = {
    "guided": (EULER, dict(seed=66, negative=NEGATIVE, height=64, width=64, steps=4)),
    "no-negative": (EULER, dict(seed=23, negative=None, height=72, width=104, steps=3, guidance=7.0, images=2)),
    # A number of steps that makes the leading walk one longer than asked.
    "fifteen": (EULER, dict(seed=0, negative="", height=48, width=64, steps=15, guidance=1.0, prompt=CAT)),
    "solver-karras": (SOLVER, dict(seed=7, negative=NEGATIVE, height=64, width=56, steps=5)),
    "edm": (EDM, dict(seed=31, negative=None, height=64, width=64, steps=4)),
    "over-euler": (EULER, dict(seed=66, negative=NEGATIVE, height=64, width=64, steps=6, strength=0.55)),
    "over-two": (EULER, dict(seed=23, negative=None, height=56, width=72, steps=5, strength=0.6, images=2)),
    "over-solver": (SOLVER, dict(seed=7, negative=NEGATIVE, height=64, width=64, steps=5, strength=1.0, prompt=CAT)),
}


def save_tokenizer(folder):
    """The small one that `chatglm_tokenizer.py` learnt, with the settings that Kolors' has."""
    shutil.copy(GOLDEN / "chatglm-tokenizer" / "learned.model", folder / "tokenizer.model")
    write_json(folder / "tokenizer_config.json", {"do_lower_case": False, "remove_space": False, "padding_side": "left",
                                                  "tokenizer_class": "ChatGLMTokenizer"})


def halved(model):
    """The same with every number one that half precision has."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.half())
    return model


def save_text_encoder(model, folder):
    """Half precision in two shards, their index as diffusers wrote it in 2024."""
    tensors = {name: value.half() for name, value in model.state_dict().items()}
    write_shards(tensors, folder, "model.fp16-0000{}-of-00002.safetensors", "model.safetensors.index.fp16.json", write_tensors)
    chatglm.save_config(model, folder)


def save_original(model, folder):
    tensors = {f"transformer.{name}": value.half() for name, value in model.state_dict().items()}
    write_shards(tensors, folder / "text_encoder", "pytorch_model-0000{}-of-00002.bin", "pytorch_model.bin.index.json",
                 lambda path, shard: torch.save(shard, path))
    chatglm.save_config(model, folder / "text_encoder")
    write_json(folder / "model_index.json", {
        "_class_name": "StableDiffusionXLPipeline", "_diffusers_version": "0.18.0.dev0", "force_zeros_for_empty_prompt": True,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["kolors", "ChatGLMModel"],
        "tokenizer": ["kolors", "ChatGLMTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"]})


def write_shards(tensors, folder, pattern, index, write):
    names = list(tensors)
    weight_map = {name: pattern.format(1 + (2 * i) // len(names)) for i, name in enumerate(names)}
    for file in sorted(set(weight_map.values())):
        write(folder / file, {name: tensors[name] for name in names if weight_map[name] == file})
    size = sum(value.numel() * value.element_size() for value in tensors.values())
    write_json(folder / index, {"metadata": {"total_size": size}, "weight_map": weight_map})


def make_parts(folder, original):
    """The parts of the pipeline in float32, as they were saved in half precision."""
    (folder / "tokenizer").mkdir()
    save_tokenizer(folder / "tokenizer")
    tokenizer = ChatGLMTokenizer.from_pretrained(folder / "tokenizer")
    text = halved(chatglm.chatglm(dict(num_layers=3, hidden_size=WIDTH, ffn_hidden_size=32, kv_channels=8, num_attention_heads=4,
                                       multi_query_group_num=2, padded_vocab_size=tokenizer.vocab_size, seq_length=512), seed=720))
    (folder / "text_encoder").mkdir()
    save_text_encoder(text, folder / "text_encoder")
    (original / "text_encoder").mkdir()
    save_original(text, original)
    save_tokenizer(original / "text_encoder")
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(8, 16, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=(1, 2, 4),
        cross_attention_dim=20, encoder_hid_dim=WIDTH, encoder_hid_dim_type="text_proj", use_linear_projection=True,
        transformer_layers_per_block=(1, 1, 2), addition_embed_type="text_time", addition_time_embed_dim=TIME,
        projection_class_embeddings_input_dim=WIDTH + 6 * TIME,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"))
    unet = halved(randomize(unet, seed=721))
    vae = AutoencoderKL(sample_size=64, block_out_channels=(8, 8, 8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
                        down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
                        scaling_factor=0.13025, force_upcast=True)
    vae = halved(randomize(vae, seed=722))
    for name, model in (("unet", unet), ("vae", vae)):
        model.half().save_pretrained(folder / name, variant="fp16")
        model.float()
    EULER.save_pretrained(folder / "scheduler")
    write_json(folder / "model_index.json", {
        "_class_name": "KolorsPipeline", "_diffusers_version": "0.30.0.dev0", "force_zeros_for_empty_prompt": False,
        "scheduler": ["diffusers", "EulerDiscreteScheduler"], "text_encoder": ["kolors", "ChatGLMModel"],
        "tokenizer": ["kolors", "ChatGLMTokenizer"], "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"]})
    return dict(tokenizer=tokenizer, text_encoder=text, unet=unet, vae=vae, scheduler=EULER)


def make(parts, scheduler, *, seed, negative, height, width, steps, guidance=5.0, images=1, strength=None, prompt=PROMPT):
    """One case: its settings and its tensors."""
    pipe = (KolorsPipeline if strength is None else KolorsImg2ImgPipeline)(**parts | dict(scheduler=scheduler))
    pipe.set_progress_bar_config(disable=True)
    settings = {"prompt": prompt, "negativePrompt": negative, "seed": seed, "height": height, "width": width, "steps": steps,
                "guidanceScale": guidance, "imagesPerPrompt": images,
                **({} if strength is None else {"verb": "image-to-image", "strength": strength}),
                "scheduler": described(scheduler)}
    rows = parts["tokenizer"]([negative or "", prompt], padding="max_length", max_length=256, truncation=True, return_tensors="pt")
    tensors = dict(rows)
    if strength is None and scheduler is EULER and images == 1:
        names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
        tensors |= zip(names, pipe.encode_prompt(prompt, device="cpu", negative_prompt=negative))

    given = {}
    if strength is not None:
        tensors["image"] = torch.from_numpy(picture(height, width, np.random.default_rng(9)))
        given = {"image": Image.fromarray(tensors["image"].numpy()), "strength": strength}
    pictures = pipe(prompt, negative_prompt=negative, height=height, width=width, num_inference_steps=steps,
                    guidance_scale=guidance, num_images_per_prompt=images, generator=generator(seed),
                    callback_on_step_end=keeping(tensors), **given).images
    tensors["images"] = stacked(pictures)
    return settings, tensors


@torch.no_grad()
def main():
    fresh(FOLDER)
    parts = make_parts(fresh(FOLDER / "model"), fresh(FOLDER / "original"))
    write_cases(FOLDER, CASES, partial(make, parts))
    report(FOLDER)


if __name__ == "__main__":
    main()
