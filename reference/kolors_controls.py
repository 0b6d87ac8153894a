"""
ControlNets and IP-Adapter-Plus of Kolors, apart and together, with the tiny model of `pipeline_kolors.py`.

test/golden/kolors-controls/
  controlnet/          config.json and diffusion_pytorch_model.safetensors, as Kwai-Kolors/Kolors-ControlNet-Canny has them: half
                       precision, the fork's class
  ip_adapter_plus_general.bin      as Kwai-Kolors/Kolors-IP-Adapter-Plus has it; its image encoder is `ip-adapter/kolors/image_encoder`
  cases.json           [{ name, verb, model: "pipeline-kolors" or "nine", controls: [{ scale, start, end }], guessMode,
                       adapter: { scale, pictures: [n of ip-adapter/pictures.safetensors] } or null, prompt, negativePrompt, seed, height,
                       width, steps, guidanceScale, strength, imagesPerPrompt, scheduler: { class, config } }]
  <name>.safetensors   control.<i> and, as the verb needs, image and mask uint8 [H, W, 3], as given; latents.<i>; images uint8
                       [N, H, W, 3]

Kolors' fork of `ControlNetModel` projects the text that it reads before all else, which diffusers' class has the layer for and
never does: `ControlNet` here does. Its pipeline begins with noise alone at strength 1, so that those cases are diffusers'
text to image. All else is diffusers' pipelines for SDXL over ChatGLM's states, as in `kolors_inpaint.py`.
"""

import copy
from functools import partial

import numpy as np
import torch
from diffusers import (ControlNetModel, StableDiffusionXLControlNetImg2ImgPipeline, StableDiffusionXLControlNetPipeline,
                       StableDiffusionXLImg2ImgPipeline, StableDiffusionXLPipeline)
from diffusers.models import MultiControlNetModel
from PIL import Image
from safetensors.torch import load_file
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from common import GOLDEN, described, fresh, generator, keeping, randomize, report, stacked, write_cases, write_json, write_tensors
from given_pictures import mask, picture
from ip_adapter import SIZE, adapter, plus, save_half
from kolors_inpaint import Inpainting, encoded, open_parts, widened, without_text
from pipeline_kolors import EULER, NEGATIVE, PROMPT, SOLVER, TIME, WIDTH

FOLDER = GOLDEN / "kolors-controls"
PICTURES = GOLDEN / "ip-adapter" / "pictures.safetensors"
ENCODER = GOLDEN / "ip-adapter" / "kolors" / "image_encoder"
STYLE = {"up": {"block_0": [0.0, 1.2]}}

# name: (verb, model, number of controls, adapter, scheduler, seed, arguments)
CASES = {
    "control": ("text-to-image", "pipeline-kolors", 1, None, EULER, 66, dict(steps=4, scale=[0.7], end=[0.9], guidance=6.0)),
    "control-noise": ("image-to-image", "pipeline-kolors", 1, None, EULER, 7, dict(steps=3, strength=1.0, scale=[0.8])),
    "control-over": ("image-to-image", "pipeline-kolors", 1, None, EULER, 8, dict(steps=5, strength=0.8, scale=[0.8], images=2)),
    "control-two": ("image-to-image", "pipeline-kolors", 2, None, SOLVER, 9,
                    dict(steps=6, strength=0.7, scale=[0.6, 1.1], start=[0.0, 0.3], end=[0.6, 1.0])),
    "control-guess": ("text-to-image", "pipeline-kolors", 1, None, EULER, 10, dict(steps=4, scale=[0.9], guess=True, guidance=4.0)),
    "control-guess-over": ("image-to-image", "pipeline-kolors", 2, None, EULER, 11,
                           dict(steps=4, strength=0.8, scale=[0.5, 0.9], guess=True)),
    "adapter": ("text-to-image", "pipeline-kolors", 0, (0.5, [3]), EULER, 66, dict(steps=4, negative=None)),
    "adapter-two": ("text-to-image", "pipeline-kolors", 0, (1.0, [0, 1]), SOLVER, 12, dict(steps=4, images=2)),
    "adapter-style": ("text-to-image", "pipeline-kolors", 0, (STYLE, [2]), EULER, 13, dict(steps=3)),
    "adapter-over": ("image-to-image", "pipeline-kolors", 0, (0.5, [1]), EULER, 14, dict(steps=6, strength=0.5)),
    "adapter-into": ("inpaint", "nine", 0, (0.5, [3]), EULER, 15, dict(steps=4, strength=0.9999, guidance=6.0)),
    # The repository's own script of both.
    "both": ("image-to-image", "pipeline-kolors", 1, (0.5, [3]), EULER, 66, dict(steps=4, strength=1.0, scale=[0.5], end=[0.9])),
    "both-over": ("image-to-image", "pipeline-kolors", 1, (0.6, [0]), EULER, 16, dict(steps=5, strength=0.6, scale=[0.7])),
    "both-guess": ("image-to-image", "pipeline-kolors", 2, (0.4, [2]), SOLVER, 17,
                   dict(steps=6, strength=0.7, scale=[0.5, 0.9], start=[0.0, 0.2], end=[0.8, 1.0], guess=True)),
}


class ControlNet(ControlNetModel):
    """As Kolors' repository has it."""

    def forward(self, sample, timestep, encoder_hidden_states, *rest, **named):
        return super().forward(sample, timestep, self.encoder_hid_proj(encoder_hidden_states), *rest, **named)


def save_controlnet():
    torch.manual_seed(0)
    net = randomize(ControlNet(
        block_out_channels=(8, 16, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=(1, 2, 4), cross_attention_dim=20,
        encoder_hid_dim=WIDTH, encoder_hid_dim_type="text_proj", use_linear_projection=True, transformer_layers_per_block=(1, 1, 2),
        addition_embed_type="text_time", addition_time_embed_dim=TIME, projection_class_embeddings_input_dim=WIDTH + 6 * TIME,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        conditioning_embedding_out_channels=(4, 6, 6, 8)), seed=850)
    net.half().float()
    config = {key: value for key, value in net.config.items() if not key.startswith("_")}
    (FOLDER / "controlnet").mkdir()
    write_json(FOLDER / "controlnet" / "config.json", {"_class_name": "ControlNetModel_JQ", "_diffusers_version": "0.18.0.dev0"} | config)
    write_tensors(FOLDER / "controlnet" / "diffusion_pytorch_model.safetensors", {key: value.half() for key, value in net.state_dict().items()})
    return net


def pipeline_for(verb, parts, net, count, strength):
    parts = without_text(parts) | {"scheduler": None, "add_watermarker": False}
    if count == 0:
        kinds = {"text-to-image": StableDiffusionXLPipeline, "image-to-image": StableDiffusionXLImg2ImgPipeline, "inpaint": Inpainting}
        return kinds[verb](**parts)
    over = verb == "image-to-image" and strength < 1
    kind = StableDiffusionXLControlNetImg2ImgPipeline if over else StableDiffusionXLControlNetPipeline
    return kind(**parts, controlnet=net if count == 1 else MultiControlNetModel([net] * count))


def give(pipe, scale):
    pipe.register_modules(feature_extractor=CLIPImageProcessorPil(size=SIZE, crop_size=SIZE),
                          image_encoder=CLIPVisionModelWithProjection.from_pretrained(ENCODER).eval())
    pipe.load_ip_adapter([str(FOLDER)], subfolder="", weight_name=["ip_adapter_plus_general.bin"])
    pipe.set_ip_adapter_scale([scale])


def make(parts, net, seen, verb, model, count, looked, scheduler, seed, *, steps, strength=None, guidance=5.0, images=1, scale=None,
         start=None, end=None, guess=False, negative=NEGATIVE):
    scale, start, end = scale or [], start or [0.0] * count, end or [1.0] * count
    parts = parts | {"unet": copy.deepcopy(parts["unet"])}
    if model == "nine":
        parts["unet"] = widened(parts["unet"])
    pipe = pipeline_for(verb, parts, net, count, strength)
    pipe.scheduler = scheduler
    pipe.set_progress_bar_config(disable=True)
    arguments = encoded(parts, PROMPT, negative)
    if looked is not None:
        give(pipe, looked[0])
        arguments["ip_adapter_image"] = [[Image.fromarray(seen[f"{n}.picture"].numpy()) for n in looked[1]]]

    random = np.random.default_rng(seed)
    height, width = 48, 48
    given = {f"control.{i}": picture(height, width - 8 * i, random) for i in range(count)}
    controls = [Image.fromarray(one) for one in given.values()]
    if verb != "text-to-image":
        given["image"] = picture(height, width, random)
    if verb == "inpaint":
        given["mask"] = mask(height, width)
        arguments["mask_image"] = Image.fromarray(given["mask"])
    over = verb != "text-to-image" and (count == 0 or strength < 1)
    if over:
        arguments |= {"image": Image.fromarray(given["image"]), "strength": strength}
    if count > 0 or verb != "image-to-image":
        arguments |= {"height": height, "width": width}
    if count > 0:
        one = count == 1
        arguments |= {"control_image" if over else "image": controls[0] if one else controls, "guess_mode": guess,
                      "controlnet_conditioning_scale": scale[0] if one else scale, "control_guidance_start": start[0] if one else start,
                      "control_guidance_end": end[0] if one else end}
    tensors = {name: torch.from_numpy(value) for name, value in given.items()}

    pictures = pipe(num_inference_steps=steps, guidance_scale=guidance, num_images_per_prompt=images, generator=generator(seed),
                    callback_on_step_end=keeping(tensors), **arguments).images
    tensors["images"] = stacked(pictures)
    settings = {"verb": verb, "model": model, "controls": [{"scale": a, "start": b, "end": c} for a, b, c in zip(scale, start, end)],
                "guessMode": guess, "adapter": None if looked is None else {"scale": looked[0], "pictures": looked[1]},
                "prompt": PROMPT, "negativePrompt": negative, "seed": seed, "height": height, "width": width, "steps": steps,
                "guidanceScale": guidance, **({} if strength is None else {"strength": strength}), "imagesPerPrompt": images,
                "scheduler": described(scheduler)}
    return settings, tensors


@torch.no_grad()
def main():
    fresh(FOLDER)
    parts = open_parts()
    net = save_controlnet()
    save_half(adapter(parts["unet"], plus, 20, 851, heads=1), FOLDER / "ip_adapter_plus_general.bin")
    seen = load_file(PICTURES)
    write_cases(FOLDER, CASES, partial(make, parts, net, seen))
    report(FOLDER)


if __name__ == "__main__":
    main()
