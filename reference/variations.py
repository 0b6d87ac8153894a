"""
Variations of a seed: noise between that of two seeds, and what diffusers draws from it with the model of `pipeline.py`.

test/golden/variations/
  noise.safetensors    a and b [2, 4, 6, 5], and between.<t> for several t: the angle is that of columns, as web tools take it
  cases.json           [{ name, prompt, negativePrompt, variationOf, seed, variationStrength, height, width, steps,
                       guidanceScale, imagesPerPrompt, scheduler: { class, config } }]
  <name>.safetensors   latents.<i> after the i-th call of the model, images uint8 [N, H, W, 3]

What the scheduler draws on the way comes from the generators of `variationOf`.
"""

from functools import partial

import torch
from diffusers import DDIMScheduler, EulerAncestralDiscreteScheduler, StableDiffusionPipeline

from common import GOLDEN, described, fresh, generator, keeping, report, stacked, write_cases, write_tensors
from pipeline import NEGATIVE, PROMPT, SCHEDULE, SD1

FOLDER = GOLDEN / "variations"

# name: (scheduler, arguments)
CASES = {
    "ddim": (DDIMScheduler(**SD1, clip_sample=False), dict(seeds=[8], strength=0.35, height=64, width=80, steps=4)),
    "euler-ancestral": (EulerAncestralDiscreteScheduler(**SCHEDULE, steps_offset=1),
                        dict(seeds=[8, 9], strength=0.7, height=64, width=64, steps=5)),
}


def between(t, a, b):
    """Shoemake's spherical interpolation of each column of [..., H, W]."""
    cosine = torch.nn.functional.cosine_similarity(a, b, dim=-2)
    angle = torch.acos(cosine).unsqueeze(-2)
    return (torch.sin((1 - t) * angle) * a + torch.sin(t * angle) * b) / torch.sin(angle)


def make(pipe, scheduler, *, seeds, strength, height, width, steps):
    pipe.scheduler = scheduler
    settings = {"prompt": PROMPT, "negativePrompt": NEGATIVE, "variationOf": 17, "seed": seeds, "variationStrength": strength,
                "height": height, "width": width, "steps": steps, "guidanceScale": 7.5, "imagesPerPrompt": len(seeds),
                "scheduler": described(scheduler)}
    shape = (1, 4, height // 8, width // 8)
    own = [generator(17) for _ in seeds]
    latents = torch.cat([between(strength, torch.randn(shape, generator=one), torch.randn(shape, generator=generator(seed)))
                         for one, seed in zip(own, seeds)])
    tensors = {}

    pictures = pipe(PROMPT, negative_prompt=NEGATIVE, height=height, width=width, num_inference_steps=steps, guidance_scale=7.5,
                    num_images_per_prompt=len(seeds), generator=own, latents=latents, callback_on_step_end=keeping(tensors)).images
    tensors["images"] = stacked(pictures)
    return settings, tensors


@torch.no_grad()
def main():
    fresh(FOLDER)
    a, b = (torch.randn((2, 4, 6, 5), generator=generator(seed)) for seed in (1, 2))
    write_tensors(FOLDER / "noise.safetensors", {"a": a, "b": b, **{f"between.{t}": between(t, a, b) for t in (0.1, 0.5, 0.9)}})
    pipe = StableDiffusionPipeline.from_pretrained(GOLDEN / "pipeline" / "model")
    pipe.set_progress_bar_config(disable=True)
    write_cases(FOLDER, CASES, partial(make, pipe))
    report(FOLDER)


if __name__ == "__main__":
    main()
