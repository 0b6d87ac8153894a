"""
IP-Adapters: what diffusers draws after pictures with the tiny models of `pipeline.py` and `pipeline_xl.py`.

test/golden/ip-adapter/
  whole.safetensors, plus.bin (half precision), full.safetensors      for `pipeline/model`, under their authors' names
  image_encoder/       for those three, with a gelu
  xl/                  as published for SDXL: an adapter of the first kind, and its image encoder
  kolors/              as published for Kolors: ip_adapter_plus_general.bin, and image_encoder/ with a whole CLIPModel
  kolors-unet/         a U-Net that projects the text it reads
  pictures.safetensors <n>.picture uint8 [H, W, 3]; <n>.pixels, what CLIPImageProcessor makes of it for 28 pixels;
                       <n>.mask uint8 [H, W, 3]
  <kind>.safetensors of components/: tokens of pictures 0 and 1 [2, T, D], none [1, T, D]
  components/kolors-unet.safetensors   sample, timestep, encoder_hidden_states, text_embeds, time_ids, tokens [B, N, T, D],
                       scale -> output
  masks.json           [{ height, width, queries, values }]: mask 0 of pictures.safetensors for so many queries
  cases.json           [{ name, model, adapters: [{ path, scale }], lora: a file of ../lora or null, pictures: [[n]], masks: [[n]] or null, prompt, ... }]
  case-<name>          latents.<seed> after the last step, images.<seed> uint8 [N, H, W, 3]

Pictures change so that Pillow 13 takes their widths before their heights, as all versions before it did.
"""

import numpy as np
import torch
from diffusers import UNet2DConditionModel
from diffusers.image_processor import IPAdapterMaskProcessor
from PIL import Image
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPVisionConfig, CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import clip_vision
from common import GOLDEN, described, fresh, generator, randomize, report, stacked, write_json, write_tensors
from given_pictures import mask, picture
from lora import EULER, open_pipeline
from pipeline import NEGATIVE, PROMPT, WIDTH
from pipeline_xl import POOLED, TIME, TURBO, WIDTHS

FOLDER = GOLDEN / "ip-adapter"
SIZE = 28
ENCODER = dict(hidden_act="gelu", hidden_size=24, intermediate_size=40, num_hidden_layers=3, num_attention_heads=3,
               image_size=SIZE, patch_size=7, projection_dim=20, layer_norm_eps=1e-5)
KOLORS = dict(ENCODER, hidden_act="quick_gelu", hidden_size=20, num_attention_heads=2, projection_dim=12)
XL = dict(ENCODER, hidden_size=16, num_attention_heads=2, num_hidden_layers=2, projection_dim=30)
SEEDS = (41, 42, 43)
# Height and width: as they are taken, smaller, wide, tall.
PICTURES = [(28, 28), (50, 40), (33, 61), (91, 47)]
MASKS = [(64, 64), (50, 40)]

STYLE = {"up": {"block_0": [0.0, 1.3]}}
LAYOUT = {"down": {"block_0": 0.4, "block_1": [0.9]}, "mid": 0.5}

# name: (model, [(file, scale)], pictures of each, masks of each, arguments)
CASES = {
    "whole": ("pipeline", [("whole.safetensors", 0.7)], [[0]], None, dict(height=64, width=64)),
    "two-pictures": ("pipeline", [("whole.safetensors", 1.0)], [[1, 2]], None, dict(height=64, width=72, images=2)),
    "plus": ("pipeline", [("plus.bin", 0.6)], [[3]], None, dict(height=48, width=72)),
    "full": ("pipeline", [("full.safetensors", 1.0)], [[1]], None, dict(height=64, width=64, guidance=1.0)),
    "masks": ("pipeline", [("plus.bin", 0.8)], [[0, 2]], [[0, 1]], dict(height=72, width=64)),
    "blocks": ("pipeline", [("whole.safetensors", LAYOUT)], [[1]], None, dict(height=64, width=64)),
    "lora": ("pipeline", [("plus.bin", 0.9)], [[1]], None, dict(height=64, width=64, lora="ink")),
    "both": ("pipeline", [("whole.safetensors", 0.5), ("plus.bin", 0.9)], [[1, 0], [3]], None, dict(height=56, width=64)),
    "xl": ("pipeline-xl", [("xl/ip-adapter.safetensors", STYLE)], [[1]], None, dict(height=64, width=64)),
    "xl-masks": ("pipeline-xl", [("xl/ip-adapter.safetensors", 0.8)], [[0, 3]], [[1, 0]], dict(height=104, width=72)),
    "xl-kolors": ("pipeline-xl", [("kolors/ip_adapter_plus_general.bin", 0.5)], [[2]], None, dict(height=64, width=80)),
    "xl-turbo": ("pipeline-xl", [("kolors/ip_adapter_plus_general.bin", 1.0)], [[0, 1]], None,
                 dict(height=64, width=64, guidance=0.0, steps=2, scheduler=TURBO)),
}


def attentions(unet):
    """The number and the width of each attention to the text, by the names of diffusers' processors."""
    return [(i, unet.get_submodule(name.removesuffix(".processor")).inner_dim)
            for i, name in enumerate(unet.attn_processors) if "attn2" in name]


def draw(shape, g):
    """A matrix of unit gain; a bias or, as it is wanted, a norm's scale."""
    noise = torch.randn(shape, generator=g)
    return noise / shape[-1] ** 0.5 if len(shape) > 1 else 0.1 * noise


def linear(name, before, after, g, bias=True):
    return {f"{name}.weight": draw((after, before), g)} | ({f"{name}.bias": draw((after,), g)} if bias else {})


def norm(name, width, g):
    return {f"{name}.weight": 1 + draw((width,), g), f"{name}.bias": draw((width,), g)}


def whole(width, features, g):
    return linear("proj", features, 4 * width, g) | norm("norm", width, g)


def full(width, features, g):
    return linear("proj.0", features, features, g) | linear("proj.2", features, width, g) | norm("proj.3", width, g)


def plus(width, features, g, hidden=16, heads=2, tokens=5, layers=4):
    tensors = {"latents": torch.randn((1, tokens, hidden), generator=g)}
    tensors |= linear("proj_in", features, hidden, g) | linear("proj_out", hidden, width, g) | norm("norm_out", width, g)
    for n in range(layers):
        at, ff = f"layers.{n}.0", f"layers.{n}.1"
        tensors |= norm(f"{at}.norm1", hidden, g) | norm(f"{at}.norm2", hidden, g) | norm(f"{ff}.0", hidden, g)
        for name, before, after in ((f"{at}.to_q", hidden, 64 * heads), (f"{at}.to_kv", hidden, 128 * heads),
                                    (f"{at}.to_out", 64 * heads, hidden), (f"{ff}.1", hidden, 4 * hidden), (f"{ff}.3", 4 * hidden, hidden)):
            tensors |= linear(name, before, after, g, bias=False)
    return tensors


def adapter(unet, project, features, seed, **shape):
    g = generator(seed)
    width = unet.config.cross_attention_dim
    pairs = {}
    for number, inner in attentions(unet):
        for name in ("to_k_ip", "to_v_ip"):
            pairs |= linear(f"{number}.{name}", width, inner, g, bias=False)
    return {"image_proj": project(width, features, g, **shape), "ip_adapter": pairs}


def save_flat(state, path):
    save_file({f"{part}.{name}": t.contiguous() for part, tensors in state.items() for name, t in tensors.items()}, path)


def save_half(state, path):
    torch.save({part: {name: t.half() for name, t in tensors.items()} for part, tensors in state.items()}, path)


def save_encoder(config, folder, seed):
    folder.mkdir()
    torch.manual_seed(0)
    clip_vision.save(randomize(CLIPVisionModelWithProjection(CLIPVisionConfig(**config)), seed=seed), folder)


def save_clip(folder):
    """As Kolors has it: the text's half is there too, and a config.json of both, in PyTorch's format."""
    folder.mkdir()
    torch.manual_seed(0)
    text = dict(hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=1, vocab_size=10, max_position_embeddings=4,
                bos_token_id=1, eos_token_id=2)
    config = CLIPConfig(text_config=text, vision_config=KOLORS, projection_dim=KOLORS["projection_dim"])
    model = CLIPModel(config)
    # All but the scale of the logits, which is one number.
    randomize(torch.nn.ModuleList(model.children()), seed=806)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    write_json(folder / "config.json", {"architectures": ["CLIPModel"], "model_type": "clip", "projection_dim": KOLORS["projection_dim"],
                                        "text_config": text, "vision_config": KOLORS})


def open_looking(model):
    """A pipeline that prepares pictures for the encoders here."""
    pipe = open_pipeline(model)
    pipe.register_modules(feature_extractor=CLIPImageProcessorPil(size=SIZE, crop_size=SIZE))
    return pipe


def give(pipe, adapters):
    files = [FOLDER / path for path, _ in adapters]
    pipe.load_ip_adapter([str(file.parent) for file in files], subfolder="", weight_name=[file.name for file in files])
    pipe.image_encoder.eval()
    pipe.set_ip_adapter_scale([scale for _, scale in adapters])


def pictures_of(numbers, given, name):
    return [Image.fromarray(given[f"{n}.{name}"].numpy()) for n in numbers]


def save_pictures():
    random = np.random.default_rng(12)
    processor = CLIPImageProcessorPil(size=SIZE, crop_size=SIZE)
    tensors = {}
    for n, (height, width) in enumerate(PICTURES):
        one = Image.fromarray(picture(height, width, random))
        short = min(one.size)
        to = tuple(int(SIZE * side / short) for side in one.size)
        across = one.resize((to[0], height), Image.Resampling.BICUBIC).resize(to, Image.Resampling.BICUBIC)
        assert (np.asarray(across) == np.asarray(one.resize(to, Image.Resampling.BICUBIC))).all(), n
        tensors[f"{n}.picture"] = torch.from_numpy(np.asarray(one).copy())
        tensors[f"{n}.pixels"] = torch.as_tensor(processor(one, return_tensors="pt").pixel_values)
    for n, (height, width) in enumerate(MASKS):
        # The second is black to the right.
        shade = mask(height, width)
        tensors[f"{n}.mask"] = torch.from_numpy(shade if n == 0 else 255 - shade)
    write_tensors(FOLDER / "pictures.safetensors", tensors)
    return tensors


def save_masks(given):
    """Sizes of the latents of pictures that have the mask's shape, and of some that do not."""
    cases = []
    [one] = pictures_of([0], given, "mask")
    for height, width, queries in ((64, 64, 64), (64, 64, 16), (72, 64, 72), (72, 64, 20), (48, 104, 78), (48, 104, 21), (104, 48, 21), (8, 8, 1)):
        tensor = IPAdapterMaskProcessor().preprocess([one], height=height, width=width)[0]
        values = IPAdapterMaskProcessor.downsample(tensor, 1, queries, 1)
        cases.append({"height": height, "width": width, "queries": queries, "values": values.flatten().tolist()})
    write_json(FOLDER / "masks.json", cases)


def save_components(given):
    pipes = {name: open_looking(name) for name in ("pipeline", "pipeline-xl")}
    for name, model, path in (("whole", "pipeline", "whole.safetensors"), ("plus", "pipeline", "plus.bin"), ("full", "pipeline", "full.safetensors"),
                              ("xl", "pipeline-xl", "xl/ip-adapter.safetensors"), ("kolors", "pipeline-xl", "kolors/ip_adapter_plus_general.bin")):
        pipe = pipes[model]
        give(pipe, [(path, 1.0)])
        embeds = pipe.prepare_ip_adapter_image_embeds([pictures_of([0, 1], given, "picture")], None, "cpu", 1, True)
        [tokens] = pipe.unet.encoder_hid_proj(embeds)
        write_tensors(FOLDER / "components" / f"{name}.safetensors", {"none": tokens[0, :1], "tokens": tokens[1]})
        pipe.unload_ip_adapter()
        pipe.register_modules(feature_extractor=CLIPImageProcessorPil(size=SIZE, crop_size=SIZE))


def save_kolors_unet():
    """With a Plus adapter, to whose tokens the projection of the text does not apply."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8, block_out_channels=(4, 8), layers_per_block=1, norm_num_groups=2, attention_head_dim=(1, 2), cross_attention_dim=18,
        encoder_hid_dim=14, encoder_hid_dim_type="text_proj", use_linear_projection=True, transformer_layers_per_block=(1, 2),
        addition_embed_type="text_time", addition_time_embed_dim=TIME, projection_class_embeddings_input_dim=POOLED + 6 * TIME,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"), up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"))
    randomize(unet, seed=810).save_pretrained(FOLDER / "kolors-unet")
    state = adapter(unet, plus, KOLORS["hidden_size"], 811, heads=1)
    save_flat(state, FOLDER / "components" / "kolors-unet-adapter.safetensors")
    unet._load_ip_adapter_weights([state])
    for processor in unet.attn_processors.values():
        if hasattr(processor, "scale"):
            processor.scale = [0.6]
    g = generator(812)
    rand = lambda *shape: torch.randn(shape, generator=g)
    tensors = {"sample": rand(2, 4, 7, 6), "timestep": torch.tensor([801.0, 801.0]), "encoder_hidden_states": rand(2, 9, 14),
               "text_embeds": rand(2, POOLED), "time_ids": torch.full((2, 6), 56.0)}
    features = rand(2, 3, 17, KOLORS["hidden_size"])
    [tensors["tokens"]] = unet.encoder_hid_proj([features])
    tensors["output"] = unet(tensors["sample"], tensors["timestep"], tensors["encoder_hidden_states"], added_cond_kwargs={
        "text_embeds": tensors["text_embeds"], "time_ids": tensors["time_ids"], "image_embeds": [features]}).sample
    write_tensors(FOLDER / "components" / "kolors-unet.safetensors", tensors)


def make(name, model, adapters, pictures, masks, given, *, height, width, guidance=5.0, steps=3, images=1, scheduler=EULER,
         lora=None):
    pipe = open_looking(model)
    if lora is not None:
        pipe.load_lora_weights(GOLDEN / "lora", weight_name=f"{lora}.safetensors")
    give(pipe, adapters)
    pipe.scheduler = scheduler
    extra = {}
    if masks is not None:
        processor = IPAdapterMaskProcessor()
        extra["cross_attention_kwargs"] = {"ip_adapter_masks": [
            processor.preprocess(pictures_of(numbers, given, "mask"), height=height, width=width).permute(1, 0, 2, 3) for numbers in masks]}
    tensors = {}
    for seed in SEEDS:
        def keep(_, __, ___, state):
            tensors[f"latents.{seed}"] = state["latents"]
            return state

        made = pipe(PROMPT, negative_prompt=NEGATIVE, height=height, width=width, num_inference_steps=steps, guidance_scale=guidance,
                    num_images_per_prompt=images, generator=generator(seed), callback_on_step_end=keep,
                    ip_adapter_image=[pictures_of(numbers, given, "picture") for numbers in pictures], **extra).images
        tensors[f"images.{seed}"] = stacked(made)
    write_tensors(FOLDER / f"case-{name}.safetensors", tensors)
    print(name, f"std {tensors[f'images.{SEEDS[0]}'].float().std():.0f}")
    return {"name": name, "model": model, "adapters": [{"path": path, "scale": scale} for path, scale in adapters],
            "lora": lora, "pictures": pictures, "masks": masks, "prompt": PROMPT, "negativePrompt": NEGATIVE, "height": height, "width": width,
            "steps": steps, "guidanceScale": guidance, "imagesPerPrompt": images,
            "scheduler": described(scheduler)}


@torch.no_grad()
def main():
    fresh(FOLDER)
    for folder in ("components", "xl", "kolors"):
        (FOLDER / folder).mkdir()
    unet, unet_xl = (UNet2DConditionModel.from_pretrained(GOLDEN / model / "model" / "unet") for model in ("pipeline", "pipeline-xl"))
    assert (unet.config.cross_attention_dim, unet_xl.config.cross_attention_dim) == (WIDTH, sum(WIDTHS))
    save_encoder(ENCODER, FOLDER / "image_encoder", 800)
    save_encoder(XL, FOLDER / "xl" / "image_encoder", 801)
    save_clip(FOLDER / "kolors" / "image_encoder")
    save_flat(adapter(unet, whole, ENCODER["projection_dim"], 802), FOLDER / "whole.safetensors")
    save_half(adapter(unet, plus, ENCODER["hidden_size"], 803), FOLDER / "plus.bin")
    save_flat(adapter(unet, full, ENCODER["hidden_size"], 804), FOLDER / "full.safetensors")
    save_flat(adapter(unet_xl, whole, XL["projection_dim"], 805), FOLDER / "xl" / "ip-adapter.safetensors")
    save_half(adapter(unet_xl, plus, KOLORS["hidden_size"], 807, heads=1), FOLDER / "kolors" / "ip_adapter_plus_general.bin")
    given = save_pictures()
    save_masks(given)
    save_components(given)
    save_kolors_unet()
    write_json(FOLDER / "cases.json", [make(name, model, adapters, pictures, masks, given, **arguments)
                                       for name, (model, adapters, pictures, masks, arguments) in CASES.items()])
    report(FOLDER)


if __name__ == "__main__":
    main()
