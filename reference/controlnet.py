"""
ControlNets: tiny ones of every kind by themselves, and pictures that the tiny models of `pipeline.py` and `pipeline_xl.py`
draw with them.

test/golden/controlnet/
  <net>/               config.json, diffusion_pytorch_model.safetensors, as diffusers writes them
  <net>.safetensors    sample, timestep [B], encoder_hidden_states [, text_embeds, time_ids], picture [B, 3, 8 H, 8 W] in [0, 1],
                       all float32; residual.<i> and guess.<i>, at a scale of 0.7 without and with guess mode, the middle last
  cases.json           [{ name, verb, model, controlNets: [net], controls: [{ scale, start, end }], guessMode, prompt,
                       negativePrompt, seed, height, width, steps, guidanceScale, strength, imagesPerPrompt,
                       scheduler: { class, config } }]
  <name>-case.safetensors   control.<i> and, as the verb needs, image and mask uint8 [H, W, 3], as given; latents.<i>; images
                       uint8 [N, H, W, 3]

Kolors' fork of `ControlNetModel` projects the text before all else, which diffusers' own class does not do: the one here is
given projected text. Pictures change at most one side's length on their way in (see `given_pictures.py`).
"""

from functools import partial

import numpy as np
import torch
from diffusers import (ControlNetModel, DiffusionPipeline, StableDiffusionControlNetImg2ImgPipeline,
                       StableDiffusionControlNetInpaintPipeline, StableDiffusionControlNetPipeline,
                       StableDiffusionXLControlNetImg2ImgPipeline, StableDiffusionXLControlNetPipeline)
from diffusers.models import MultiControlNetModel
from PIL import Image

from common import GOLDEN, described, fresh, generator, keeping, randomize, report, stacked, write_cases, write_tensors
from given_pictures import ANCESTRAL, DDIM, EULER, PNDM, SOLVER, mask, picture
from pipeline import NEGATIVE, PROMPT, WIDTH
from pipeline_xl import BASE, POOLED, TIME, WIDTHS

FOLDER = GOLDEN / "controlnet"
ATTN, DOWN = "CrossAttnDownBlock2D", "DownBlock2D"

# The U-Nets of `pipeline.py` and `pipeline_xl.py`.
SD1 = dict(block_out_channels=(8, 16, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=2, cross_attention_dim=WIDTH,
           down_block_types=(ATTN, ATTN, DOWN), conditioning_embedding_out_channels=(4, 6, 6, 8))
XL = dict(block_out_channels=(8, 16, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=(1, 2, 4),
          cross_attention_dim=sum(WIDTHS), use_linear_projection=True, transformer_layers_per_block=(1, 1, 2),
          addition_embed_type="text_time", addition_time_embed_dim=TIME, projection_class_embeddings_input_dim=POOLED + 6 * TIME,
          down_block_types=(DOWN, ATTN, ATTN), conditioning_embedding_out_channels=(4, 6, 6, 8))

# name: (config, batch, height, width)
NETS = {
    "sd1": (SD1, 2, 4, 5),
    "sd1-other": (SD1 | dict(controlnet_conditioning_channel_order="bgr"), 1, 5, 3),
    "sd1-pooled": (SD1 | dict(global_pool_conditions=True), 2, 3, 4),
    "xl": (XL, 2, 4, 3),
    # The smallest of SDXL's: no attention at all, and one block in the middle.
    "xl-small": (XL | dict(down_block_types=(DOWN, DOWN, DOWN), mid_block_type="UNetMidBlock2D"), 1, 5, 4),
    "kolors": (XL | dict(encoder_hid_dim=WIDTH, encoder_hid_dim_type="text_proj"), 2, 3, 4),
    # Inkling's: the text pooled inside, latents of four pixels, two layers.
    "pooled-text": (SD1 | dict(in_channels=6, layers_per_block=2, addition_embed_type="text", addition_embed_type_num_heads=3,
                               conditioning_embedding_out_channels=(4, 6, 8)), 1, 7, 6),
}

PIPELINES = {
    ("text-to-image", "pipeline"): StableDiffusionControlNetPipeline,
    ("image-to-image", "pipeline"): StableDiffusionControlNetImg2ImgPipeline,
    ("inpaint", "pipeline"): StableDiffusionControlNetInpaintPipeline,
    ("text-to-image", "pipeline-xl"): StableDiffusionXLControlNetPipeline,
    ("image-to-image", "pipeline-xl"): StableDiffusionXLControlNetImg2ImgPipeline,
}

# name: (verb, model, nets, scheduler, seed, sizes of the control pictures, arguments)
CASES = {
    "ddim": ("text-to-image", "pipeline", ["sd1"], DDIM, 17, [(48, 48)], dict(steps=4)),
    "pndm": ("text-to-image", "pipeline", ["sd1-other"], PNDM, 2, [(40, 50)], dict(steps=5, size=(40, 56), scale=[0.8])),
    "euler-part": ("text-to-image", "pipeline", ["sd1"], EULER, 99, [(48, 48)],
                   dict(steps=6, images=2, scale=[1.3], start=[0.2], end=[0.7])),
    "two-solver": ("text-to-image", "pipeline", ["sd1", "sd1-other"], SOLVER, 17, [(48, 48), (48, 40)],
                   dict(steps=6, scale=[0.6, 1.2], start=[0.0, 0.3], end=[0.6, 1.0])),
    "none": ("text-to-image", "pipeline", ["sd1"], EULER, 2, [(48, 48)], dict(steps=3, start=[0.1], end=[0.3])),
    "guess": ("text-to-image", "pipeline", ["sd1"], DDIM, 99, [(48, 48)], dict(steps=4, guess=True, guidance=4.0, scale=[0.9])),
    "guess-unguided": ("text-to-image", "pipeline", ["sd1-other"], EULER, 17, [(48, 48)], dict(steps=4, guess=True, guidance=1.0)),
    "guess-two": ("text-to-image", "pipeline", ["sd1", "sd1-pooled"], EULER, 2, [(48, 48), (48, 48)],
                  dict(steps=4, guess=True, scale=[0.7, 0.8])),
    "pooled": ("text-to-image", "pipeline", ["sd1-pooled"], DDIM, 99, [(48, 48)], dict(steps=4)),
    "over": ("image-to-image", "pipeline", ["sd1"], DDIM, 17, [(48, 60)], dict(steps=6, strength=0.6)),
    "over-part": ("image-to-image", "pipeline", ["sd1"], EULER, 2, [(48, 48)],
                  dict(steps=8, strength=0.7, start=[0.25], end=[0.8], images=2)),
    "over-two": ("image-to-image", "pipeline", ["sd1-other", "sd1"], ANCESTRAL, 99, [(48, 48), (48, 48)],
                 dict(steps=6, strength=0.8, scale=[0.5, 0.9])),
    "over-guess": ("image-to-image", "pipeline", ["sd1"], DDIM, 17, [(48, 48)], dict(steps=5, strength=0.8, guess=True)),
    "into": ("inpaint", "pipeline", ["sd1"], DDIM, 2, [(48, 48)], dict(steps=4, strength=1.0)),
    "into-part": ("inpaint", "pipeline", ["sd1"], EULER, 99, [(48, 48)], dict(steps=6, strength=0.7, end=[0.6])),
    "xl": ("text-to-image", "pipeline-xl", ["xl"], BASE, 17, [(48, 48)], dict(steps=4, guidance=5.0)),
    "xl-two": ("text-to-image", "pipeline-xl", ["xl", "xl-small"], BASE, 2, [(48, 56), (48, 48)],
               dict(steps=5, guidance=5.0, size=(48, 56), scale=[0.8, 0.5], start=[0.0, 0.2], end=[0.9, 1.0])),
    "xl-guess": ("text-to-image", "pipeline-xl", ["xl"], BASE, 99, [(48, 48)], dict(steps=4, guidance=4.0, guess=True)),
    "xl-over": ("image-to-image", "pipeline-xl", ["xl"], BASE, 2, [(48, 48)], dict(steps=6, guidance=5.0, strength=0.55)),
}


def asked(net, batch, height, width, g):
    config = net.config
    text = config.cross_attention_dim if config.encoder_hid_dim is None else config.encoder_hid_dim
    side = 2 ** (len(config.conditioning_embedding_out_channels) - 1)
    tensors = {
        "sample": torch.randn(batch, config.in_channels, height, width, generator=g),
        "timestep": torch.tensor([980.0, 13.5])[:batch],
        "encoder_hidden_states": torch.randn(batch, 7, text, generator=g),
        "picture": torch.rand(batch, 3, side * height, side * width, generator=g),
    }
    if config.addition_embed_type == "text_time":
        tensors["text_embeds"] = torch.randn(batch, POOLED, generator=g)
        tensors["time_ids"] = torch.tensor([[1024.0, 768.0, 0.0, 16.0, 896.0, 1152.0]]).expand(batch, 6)
    return tensors


def residuals(net, tensors, **how):
    text = tensors["encoder_hidden_states"]
    if net.encoder_hid_proj is not None:
        text = net.encoder_hid_proj(text)
    added = {name: tensors[name] for name in ("text_embeds", "time_ids") if name in tensors}
    skips, middle = net(tensors["sample"], tensors["timestep"], text, tensors["picture"], conditioning_scale=0.7,
                        added_cond_kwargs=added or None, return_dict=False, **how)
    return [*skips, middle]


def save_nets():
    nets = {}
    for n, (name, (config, *sizes)) in enumerate(NETS.items()):
        torch.manual_seed(0)
        net = nets[name] = randomize(ControlNetModel(**config), seed=700 + n)
        # Half precision keeps the files small; the reference computes with the rounded weights.
        net.half().float()
        net.save_config(FOLDER / name)
        write_tensors(FOLDER / name / "diffusion_pytorch_model.safetensors", {key: value.half() for key, value in net.state_dict().items()})
        tensors = asked(net, *sizes, generator(n))
        for kind, guess in (("residual", False), ("guess", True)):
            tensors |= {f"{kind}.{i}": one for i, one in enumerate(residuals(net, tensors, guess_mode=guess))}
        write_tensors(FOLDER / f"{name}.safetensors", tensors)
        print(name, {key: f"{value.std():.2f}" for key, value in tensors.items() if key.startswith("residual")})
    return nets


def make(nets, verb, model, names, scheduler, seed, controls, *, steps, guidance=7.5, strength=None, size=(48, 48), images=1,
         scale=None, start=None, end=None, guess=False):
    count = len(names)
    scale, start, end = scale or [1.0] * count, start or [0.0] * count, end or [1.0] * count
    parts = DiffusionPipeline.from_pretrained(GOLDEN / model / "model").components
    parts["controlnet"] = nets[names[0]] if count == 1 else MultiControlNetModel([nets[name] for name in names])
    extra = {} if "text_encoder_2" in parts else {"requires_safety_checker": False}
    pipe = PIPELINES[verb, model](**parts, **extra)
    pipe.watermark = None
    pipe.scheduler = scheduler
    pipe.set_progress_bar_config(disable=True)

    random = np.random.default_rng(seed)
    height, width = size
    given = {f"control.{i}": picture(*one, random) for i, one in enumerate(controls)}
    seen = [Image.fromarray(one) for one in given.values()]
    arguments = {"height": height, "width": width}
    if verb == "text-to-image":
        arguments |= {"image": seen if count > 1 else seen[0]}
    else:
        arguments |= {"control_image": seen if count > 1 else seen[0], "strength": strength}
        given["image"] = picture(height, width, random)
        arguments["image"] = Image.fromarray(given["image"])
        if verb == "inpaint":
            given["mask"] = mask(height, width)
            arguments["mask_image"] = Image.fromarray(given["mask"])
    tensors = {name: torch.from_numpy(value) for name, value in given.items()}

    one = count == 1
    pictures = pipe(PROMPT, negative_prompt=NEGATIVE, num_inference_steps=steps, guidance_scale=guidance, num_images_per_prompt=images,
                    controlnet_conditioning_scale=scale[0] if one else scale, control_guidance_start=start[0] if one else start,
                    control_guidance_end=end[0] if one else end, guess_mode=guess, generator=generator(seed),
                    callback_on_step_end=keeping(tensors), **arguments).images
    tensors["images"] = stacked(pictures)
    settings = {"verb": verb, "model": model, "controlNets": names,
                "controls": [{"scale": a, "start": b, "end": c} for a, b, c in zip(scale, start, end)], "guessMode": guess,
                "prompt": PROMPT, "negativePrompt": NEGATIVE, "seed": seed, "height": height, "width": width, "steps": steps,
                "guidanceScale": guidance, **({} if strength is None else {"strength": strength}), "imagesPerPrompt": images,
                "scheduler": described(scheduler)}
    return settings, tensors


@torch.no_grad()
def main():
    fresh(FOLDER)
    nets = save_nets()
    write_cases(FOLDER, CASES, partial(make, nets), "-case")
    report(FOLDER)


if __name__ == "__main__":
    main()
