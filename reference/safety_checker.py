"""
StableDiffusionSafetyChecker: two tiny ones with the pictures that they look at, and a pipeline that withholds.

test/golden/safety-checker/<name>/
  safety_checker/      config.json, model.safetensors; "published" keeps the names of Stable Diffusion's files, "today" those
                       that transformers 5 writes
  feature_extractor/   preprocessor_config.json, in the form of the same time
  case.safetensors     <n>.picture uint8 [H, W, 3], <n>.pixels [1, 3, S, S], special_care [N, 3] and concepts [N, 17] (cosine less
                       threshold), withheld uint8 [N]
test/golden/safety-checker/pipeline/
  safety_checker/, feature_extractor/   for the folder of `pipeline`
  case.json, case.safetensors           settings; images uint8 [3, H, W, 3], the second of them withheld

The embeddings that are looked for are made from those of the pictures, so that each rule decides about one picture.
"""

import numpy as np
import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline
from diffusers.pipelines.stable_diffusion.safety_checker import StableDiffusionSafetyChecker, cosine_distance
from PIL import Image
from transformers import CLIPConfig
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import pipeline
from common import GOLDEN, fresh, generator, randomize, report, stacked, write_json, write_tensors

FOLDER = GOLDEN / "safety-checker"
MODELS = {
    "published": dict(hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, image_size=24, patch_size=4),
    "today": dict(hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=2, image_size=21, patch_size=7,
                  hidden_act="gelu"),
}
# Height and width.
SIZES = [(48, 48), (64, 40), (33, 57), (24, 96), (90, 91), (20, 17)]
PROJECTION = 20


def build(config, seed):
    torch.manual_seed(0)
    model = randomize(StableDiffusionSafetyChecker(CLIPConfig(vision_config=config, projection_dim=PROJECTION)), seed)
    # Nothing is near anything at first.
    model.concept_embeds_weights.data.fill_(2)
    model.special_care_embeds_weights.data.fill_(2)
    return model


def save(model, folder, published):
    part = fresh(folder / "safety_checker")
    tensors = model.state_dict()
    if published:
        tensors = {(f"vision_model.{key}" if key.startswith("vision_model.") else key): value for key, value in tensors.items()}
        tensors["vision_model.vision_model.embeddings.position_ids"] = torch.arange(37)[None]
    write_tensors(part / "model.safetensors", tensors)
    vision = {key: value for key, value in model.config.vision_config.to_dict().items() if key in
              ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size", "hidden_act")}
    write_json(part / "config.json", {"architectures": ["StableDiffusionSafetyChecker"], "model_type": "clip",
                                      "projection_dim": PROJECTION, "vision_config": vision})
    size = vision["image_size"]
    processor = CLIPImageProcessorPil(size={"shortest_edge": size}, crop_size={"height": size, "width": size})
    settings = processor.to_dict()
    if published:
        settings = {"crop_size": size, "do_center_crop": True, "do_normalize": True, "do_resize": True,
                    "feature_extractor_type": "CLIPFeatureExtractor", "image_mean": settings["image_mean"],
                    "image_std": settings["image_std"], "resample": 3, "size": size}
    write_json(fresh(folder / "feature_extractor") / "preprocessor_config.json", settings)
    return processor


def resized(picture, size):
    """As CLIPImageProcessor does, widths before heights as Pillow did before 13."""
    width, height = picture.size
    short = min(width, height)
    after = (int(size * width / short), int(size * height / short))
    return picture.resize((after[0], height), Image.Resampling.BICUBIC).resize(after, Image.Resampling.BICUBIC)


def pixels_of(processor, picture):
    small = resized(picture, processor.size["shortest_edge"])
    return processor(small, do_resize=False, return_tensors="pt").pixel_values


def embeddings(model, pixels):
    return model.visual_projection(model.vision_model(pixels)[1])


def look_for(model, list_name, index, embeds, which, margin, noise):
    """Makes one thing that is looked for out of what sets one picture apart, which is `margin` above its threshold."""
    others = torch.cat([embeds[:which], embeds[which + 1:]]).mean(0)
    thing = torch.nn.functional.normalize(embeds[which] - others, dim=0) + 0.02 * noise
    getattr(model, list_name).data[index] = 3 * thing
    getattr(model, f"{list_name}_weights").data[index] = torch.cosine_similarity(embeds[which], thing, dim=0) - margin


def picture(height, width, random):
    """A field of noise and colour of its own, so that pictures differ to a random model."""
    y, x = np.mgrid[0:height, 0:width] / max(height, width)
    waves = np.stack([np.sin(random.uniform(2, 30) * x + random.uniform(2, 30) * y + random.uniform(0, 6)) for _ in range(3)], -1)
    return np.clip(127 + 100 * waves + random.normal(0, 25, waves.shape), 0, 255).astype(np.uint8)


def scores(model, pixels):
    embeds = embeddings(model, pixels)
    special = cosine_distance(embeds, model.special_care_embeds) - model.special_care_embeds_weights
    return special, cosine_distance(embeds, model.concept_embeds) - model.concept_embeds_weights


def make(name, index):
    folder = fresh(FOLDER / name)
    model = build(MODELS[name], 900 + index)
    random = np.random.default_rng(90 + index)
    pictures = [picture(*size, random) for size in SIZES]
    processor = CLIPImageProcessorPil(size={"shortest_edge": MODELS[name]["image_size"]},
                                      crop_size={key: MODELS[name]["image_size"] for key in ("height", "width")})
    pixels = [pixels_of(processor, Image.fromarray(one)) for one in pictures]
    embeds = embeddings(model, torch.cat(pixels))
    g = generator(95 + index)
    rest = iter(torch.randn(20, PROJECTION, generator=g))
    # What decides: 0 nothing; 1 a concept; 2 a concept, by special care; 3 not, for want of that; 4 not, by a margin that is
    # rounded away; 5 not, in spite of special care.
    look_for(model, "concept_embeds", 3, embeds, 1, 0.02, next(rest))
    look_for(model, "special_care_embeds", 1, embeds, 2, 0.003, next(rest))
    look_for(model, "concept_embeds", 16, embeds, 2, -0.006, next(rest))
    look_for(model, "concept_embeds", 0, embeds, 3, -0.006, next(rest))
    look_for(model, "concept_embeds", 9, embeds, 4, 0.0003, next(rest))
    look_for(model, "special_care_embeds", 2, embeds, 5, 0.004, next(rest))
    look_for(model, "concept_embeds", 12, embeds, 5, -0.012, next(rest))
    save(model, folder, name == "published")
    special, concepts = scores(model, torch.cat(pixels))
    _, withheld = model(torch.cat(pixels), torch.zeros(len(SIZES), 3, 2, 2))
    print(name, withheld, "nearest to a decision", [f"{m:.4f}" for m in concepts.max(1).values.tolist()])
    print("   ", [[f"{m:.3f}" for m in row] for row in special.tolist()])
    tensors = {"special_care": special, "concepts": concepts, "withheld": torch.tensor(withheld, dtype=torch.uint8)}
    for n, one in enumerate(pictures):
        tensors |= {f"{n}.picture": torch.from_numpy(one), f"{n}.pixels": pixels[n]}
    write_tensors(folder / "case.safetensors", tensors)


def make_pipeline():
    folder = fresh(FOLDER / "pipeline")
    settings = dict(prompt=pipeline.PROMPT, seed=23, height=64, width=80, steps=4, guidanceScale=5.0, imagesPerPrompt=3)

    def draw(**checker):
        parts = StableDiffusionPipeline.from_pretrained(GOLDEN / "pipeline" / "model").components
        pipe = StableDiffusionPipeline(**(parts | checker), requires_safety_checker=bool(checker))
        pipe.set_progress_bar_config(disable=True)
        pipe.scheduler = DDIMScheduler(**pipeline.SD1, clip_sample=False)
        return pipe(settings["prompt"], height=64, width=80, num_inference_steps=4, guidance_scale=5.0, num_images_per_prompt=3,
                    generator=generator(23))

    model = build(MODELS["published"], 910)
    processor = save(model, folder, True)
    shown = draw().images
    embeds = embeddings(model, torch.cat([pixels_of(processor, one) for one in shown]))
    # Nearer to the second picture than to the others by half of what lies between.
    cosines = torch.nn.functional.cosine_similarity(embeds[1][None], embeds)
    print("cosines", cosines)
    model.concept_embeds.data[5] = embeds[1]
    model.concept_embeds_weights.data[5] = (1 + max(cosines[0], cosines[2])) / 2
    save(model, folder, True)
    out = draw(safety_checker=model, feature_extractor=processor)
    print("withheld", out.nsfw_content_detected)
    write_json(folder / "case.json", {**settings, "withheld": out.nsfw_content_detected, "scheduler": {
        "_class_name": "DDIMScheduler", **pipeline.SD1, "clip_sample": False}})
    write_tensors(folder / "case.safetensors", {"images": stacked(out.images)})


@torch.no_grad()
def main():
    fresh(FOLDER)
    for index, name in enumerate(MODELS):
        make(name, index)
    make_pipeline()
    report(FOLDER)


if __name__ == "__main__":
    main()
