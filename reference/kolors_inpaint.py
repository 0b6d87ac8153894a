"""
Inpainting by Kolors' repository, with the tiny model of `pipeline_kolors.py`, and with a U-Net of nine channels in its place.

test/golden/kolors-inpaint/
  unet-nine.safetensors  conv_in.weight of a U-Net of nine channels, half precision: all else is that of `pipeline-kolors/model`
  cases.json           [{ name, verb, model: "nine" or "pipeline-kolors", softMask, prompt, negativePrompt, seed, height, width, steps,
                       guidanceScale, strength, imagesPerPrompt, scheduler: { class, config } }]
  <name>.safetensors   image and mask uint8 [H, W, 3], as given; latents.<i>; images uint8 [N, H, W, 3]

The repository's pipeline is diffusers' for SDXL with ChatGLM's states in place of CLIP's, and without the one line that tells the
scheduler where it begins: so the walk here is that of diffusers, given those states, with that line taken out. Pictures change
at most one side's length on their way in (see `given_pictures.py`).
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
from diffusers import KolorsPipeline, StableDiffusionXLInpaintPipeline, UNet2DConditionModel
from diffusers.image_processor import VaeImageProcessor
from PIL import Image

from common import GOLDEN, described, fresh, generator, keeping, report, stacked, write_cases, write_tensors
from given_pictures import mask, picture
from pipeline_kolors import EULER, NEGATIVE, PROMPT, SOLVER, make_parts

FOLDER = GOLDEN / "kolors-inpaint"

# name: (model, scheduler, size of the picture, size of the result, arguments)
CASES = {
    # The pipeline's own defaults, but for the steps: all but one of them are walked.
    "nine": ("nine", EULER, (64, 64), (64, 64), dict(steps=6, strength=0.9999, guidance=7.5)),
    "nine-whole": ("nine", EULER, (64, 90), (64, 72), dict(steps=4, strength=1.0, guidance=6.0)),
    "nine-two": ("nine", EULER, (56, 64), (56, 64), dict(steps=5, strength=0.6, images=2, negative=None)),
    "nine-solver": ("nine", SOLVER, (64, 64), (64, 64), dict(steps=5, strength=0.8)),
    "nine-unguided": ("nine", EULER, (48, 64), (48, 64), dict(steps=4, strength=0.9999, guidance=1.0)),
    "nine-soft": ("nine", EULER, (64, 64), (64, 64), dict(steps=4, strength=0.999, soft=True)),
    "four": ("pipeline-kolors", EULER, (64, 64), (64, 64), dict(steps=5, strength=0.9999)),
    "four-whole": ("pipeline-kolors", EULER, (64, 50), (64, 64), dict(steps=4, strength=1.0, images=2)),
    "four-soft": ("pipeline-kolors", EULER, (64, 64), (64, 64), dict(steps=6, strength=0.7, soft=True)),
    "four-solver": ("pipeline-kolors", SOLVER, (64, 72), (64, 72), dict(steps=5, strength=0.8)),
}


class Inpainting(StableDiffusionXLInpaintPipeline):
    """As Kolors' repository has it, over states of the text that are given."""

    def get_timesteps(self, num_inference_steps, strength, device, denoising_start=None):
        walked = min(int(num_inference_steps * strength), num_inference_steps)
        return self.scheduler.timesteps[(num_inference_steps - walked) * self.scheduler.order:], walked


def open_parts():
    """The parts of the tiny Kolors, made again: transformers no longer reads the names of its shards."""
    with tempfile.TemporaryDirectory() as folder:
        return make_parts(fresh(Path(folder) / "model"), fresh(Path(folder) / "original"))


def encoded(parts, prompt, negative):
    """What pipelines for SDXL are given in place of texts."""
    pipe = KolorsPipeline(**parts, force_zeros_for_empty_prompt=False)
    names = ("prompt_embeds", "negative_prompt_embeds", "pooled_prompt_embeds", "negative_pooled_prompt_embeds")
    return dict(zip(names, pipe.encode_prompt(prompt, device="cpu", negative_prompt=negative)))


def without_text(parts):
    """The parts of a pipeline for SDXL that is given states of the text."""
    return {"vae": parts["vae"], "unet": parts["unet"], "text_encoder": None, "text_encoder_2": None, "tokenizer": None,
            "tokenizer_2": None}


def widened(unet):
    """The U-Net with another first layer, which sees a mask and the rest of a picture too."""
    nine = UNet2DConditionModel.from_config(unet.config, in_channels=9)
    nine.load_state_dict({**nine.state_dict(), **{name: value for name, value in unet.state_dict().items() if name != "conv_in.weight"}})
    weight = nine.conv_in.weight
    weight.copy_((torch.randn(weight.shape, generator=generator(840)) / weight[0].numel() ** 0.5).half())
    return nine.eval()


def make(parts, unets, model, scheduler, before, after, *, steps, strength, guidance=5.0, images=1, negative=NEGATIVE, soft=False):
    parts = parts | {"unet": unets[model]}
    pipe = Inpainting(**without_text(parts), scheduler=scheduler, add_watermarker=False)
    pipe.set_progress_bar_config(disable=True)
    if soft:
        pipe.mask_processor = VaeImageProcessor(vae_scale_factor=8, do_normalize=False, do_binarize=False, do_convert_grayscale=True)
    random = np.random.default_rng(9)
    given = {"image": picture(*before, random), "mask": mask(*before)}
    height, width = after
    tensors = {name: torch.from_numpy(value) for name, value in given.items()}

    states = encoded(parts, PROMPT, negative)
    pictures = pipe(image=Image.fromarray(given["image"]), mask_image=Image.fromarray(given["mask"]), height=height, width=width,
                    num_inference_steps=steps, strength=strength, guidance_scale=guidance, num_images_per_prompt=images,
                    generator=generator(603), callback_on_step_end=keeping(tensors), **states).images
    tensors["images"] = stacked(pictures)
    settings = {"verb": "inpaint", "model": model, "softMask": soft, "prompt": PROMPT, "negativePrompt": negative, "seed": 603,
                "height": height, "width": width, "steps": steps, "guidanceScale": guidance, "strength": strength,
                "imagesPerPrompt": images, "scheduler": described(scheduler)}
    return settings, tensors


@torch.no_grad()
def main():
    fresh(FOLDER)
    parts = open_parts()
    parts["scheduler"] = EULER
    unets = {"pipeline-kolors": parts["unet"], "nine": widened(parts["unet"])}
    write_tensors(FOLDER / "unet-nine.safetensors", {"conv_in.weight": unets["nine"].conv_in.weight.half()})
    write_cases(FOLDER, CASES, partial(make, parts, unets))
    report(FOLDER)


if __name__ == "__main__":
    main()
