"""
Image to image and inpainting with the tiny models of `pipeline.py` and `pipeline_xl.py`, and with a nine-channel U-Net.

test/golden/given-pictures/
  unet-nine/           a U-Net of nine channels, to stand in for that of `pipeline/model`
  cases.json           [{ name, verb, model, prompt, negativePrompt, seed, height, width, steps, guidanceScale, strength,
                       imagesPerPrompt, scheduler: { class, config } }]
  <name>.safetensors   image and, for inpainting, mask uint8 [H, W, 3], as given; latents.<i>; images uint8 [N, H, W, 3]

Pictures change at most one side's length on their way in, for Pillow 13 chooses the order of the two by itself.
"""

import numpy as np
import torch
from diffusers import (DDIMScheduler, DiffusionPipeline, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler,
                       EulerDiscreteScheduler, PNDMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline,
                       StableDiffusionXLImg2ImgPipeline, StableDiffusionXLInpaintPipeline, UNet2DConditionModel)
from PIL import Image

from common import GOLDEN, described, fresh, generator, keeping, randomize, report, stacked, write_cases
from pipeline import NEGATIVE, PROMPT, SCHEDULE, SD1, WIDTH
from pipeline_xl import BASE, TURBO

FOLDER = GOLDEN / "given-pictures"
DDIM = DDIMScheduler(**SD1, clip_sample=False)
PNDM = PNDMScheduler(**SD1, skip_prk_steps=True)
EULER = EulerDiscreteScheduler(**SCHEDULE, steps_offset=1)
ANCESTRAL = EulerAncestralDiscreteScheduler(**SCHEDULE, steps_offset=1)
SOLVER = DPMSolverMultistepScheduler(**SCHEDULE, steps_offset=1)

# name: (verb, model, scheduler, size of the picture, size of the result, arguments)
CASES = {
    "over-ddim": ("image-to-image", "pipeline", DDIM, (64, 64), (64, 64), dict(steps=5, strength=0.6)),
    "over-pndm": ("image-to-image", "pipeline", PNDM, (72, 56), (72, 56), dict(steps=7, strength=0.5)),
    "over-euler": ("image-to-image", "pipeline", EULER, (50, 64), (64, 64), dict(steps=6, strength=0.8, images=2)),
    "over-euler-ancestral": ("image-to-image", "pipeline", ANCESTRAL, (64, 64), (64, 64), dict(steps=8, strength=0.4)),
    "over-dpm-solver": ("image-to-image", "pipeline", SOLVER, (64, 90), (64, 64), dict(steps=8, strength=1.0)),
    "over-xl": ("image-to-image", "pipeline-xl", BASE, (64, 64), (64, 64), dict(steps=6, strength=0.55, guidance=5.0)),
    "over-turbo": ("image-to-image", "pipeline-xl", TURBO, (64, 72), (64, 72), dict(steps=2, strength=0.5, guidance=0.0)),
    "into-ddim": ("inpaint", "pipeline", DDIM, (64, 64), (64, 64), dict(steps=4, strength=1.0)),
    "into-euler": ("inpaint", "pipeline", EULER, (64, 72), (64, 72), dict(steps=6, strength=0.7, images=2)),
    "into-euler-ancestral": ("inpaint", "pipeline", ANCESTRAL, (64, 64), (64, 64), dict(steps=5, strength=0.8)),
    "into-xl": ("inpaint", "pipeline-xl", BASE, (64, 64), (64, 64), dict(steps=5, strength=0.75, guidance=5.0)),
    "nine-pndm": ("inpaint", "nine", PNDM, (64, 64), (64, 64), dict(steps=5, strength=1.0)),
    "nine-euler": ("inpaint", "nine", EULER, (48, 64), (48, 64), dict(steps=6, strength=0.9)),
}

PIPELINES = {
    ("image-to-image", "pipeline"): StableDiffusionImg2ImgPipeline, ("image-to-image", "pipeline-xl"): StableDiffusionXLImg2ImgPipeline,
    ("inpaint", "pipeline"): StableDiffusionInpaintPipeline, ("inpaint", "pipeline-xl"): StableDiffusionXLInpaintPipeline,
    ("inpaint", "nine"): StableDiffusionInpaintPipeline,
}


def save_nine():
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, in_channels=9, block_out_channels=(8, 16), layers_per_block=1, norm_num_groups=4, attention_head_dim=2,
        cross_attention_dim=WIDTH, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"))
    randomize(unet, seed=600).save_pretrained(FOLDER / "unet-nine")


def picture(height, width, random):
    """Smooth colours with an edge, and a little noise."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    colours = np.stack([x, y, 1 - x * y], axis=-1) * 255
    colours[height // 3: height // 2] = random.integers(0, 256, 3)
    return np.clip(colours + random.normal(0, 8, colours.shape), 0, 255).astype(np.uint8)


def mask(height, width):
    """White to the right of a slanted grey edge, so that rounding it matters."""
    y, x = np.mgrid[0:height, 0:width]
    shade = np.clip((x - width / 3 - y / 4) * 40, 0, 255)
    return np.repeat(shade[..., None], 3, axis=-1).astype(np.uint8)


def open_pipeline(verb, model):
    # From its parts: loaded as such, a folder of an early version opens as a pipeline that has since been given up.
    folder = GOLDEN / ("pipeline" if model == "nine" else model) / "model"
    parts = DiffusionPipeline.from_pretrained(folder).components
    if model == "nine":
        parts["unet"] = UNet2DConditionModel.from_pretrained(FOLDER / "unet-nine")
    extra = {} if "text_encoder_2" in parts else {"requires_safety_checker": False}
    pipe = PIPELINES[verb, model](**parts, **extra)
    pipe.watermark = None
    pipe.set_progress_bar_config(disable=True)
    return pipe


def make(verb, model, scheduler, before, after, *, steps, strength, guidance=7.5, images=1):
    pipe = open_pipeline(verb, model)
    pipe.scheduler = scheduler
    random = np.random.default_rng(9)
    given = {"image": picture(*before, random)}
    if verb == "inpaint":
        given["mask"] = mask(*before)
    height, width = after
    settings = {"verb": verb, "model": model, "prompt": PROMPT, "negativePrompt": NEGATIVE, "seed": 31, "height": height, "width": width,
                "steps": steps, "guidanceScale": guidance, "strength": strength, "imagesPerPrompt": images,
                "scheduler": described(scheduler)}
    tensors = {name: torch.from_numpy(value) for name, value in given.items()}

    image = Image.fromarray(given["image"])
    arguments = {"image": image.resize((width, height), Image.Resampling.LANCZOS)} if verb == "image-to-image" else {
        "image": image, "mask_image": Image.fromarray(given["mask"]), "height": height, "width": width}
    pictures = pipe(PROMPT, negative_prompt=NEGATIVE, num_inference_steps=steps, strength=strength, guidance_scale=guidance,
                    num_images_per_prompt=images, generator=generator(31), callback_on_step_end=keeping(tensors), **arguments).images
    tensors["images"] = stacked(pictures)
    return settings, tensors


@torch.no_grad()
def main():
    fresh(FOLDER)
    save_nine()
    write_cases(FOLDER, CASES, make)
    report(FOLDER)


if __name__ == "__main__":
    main()
