"""
LoRA: what diffusers draws with LoRAs on the tiny models of `pipeline.py` and `pipeline_xl.py`, and what torch makes of one layer
by each kind of LoRA.

test/golden/lora/      safetensors files, and one of JSON
  ink, dora            PEFT's names, with alphas in the metadata; dora with magnitudes
  wash                 PEFT's names, attention only, no alphas
  sgm                  kohya's names of SDXL (SGM blocks, two text encoders), with alphas
  cases.json           [{ name, model, loras: [{ file, scale }], prompt, negativePrompt, seed, height, width, steps,
                       guidanceScale, imagesPerPrompt, scheduler: { class, config } }]
  case-<name>          latents.<i> after the i-th call of the model, images uint8 [N, H, W, 3]
  layers               lora_unet_<kind>.<tensor> as LyCORIS and kohya name them, and of each kind: <kind>:x, <kind>:weight,
                       <kind>:y, what the layer gives with the LoRA at scale 0.7

LyCORIS' formulas are written out here from its functional module; those of DoRA follow its apply_weight_decompose, with the
whole change scaled, as web tools do.
"""

import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from diffusers.training_utils import _collate_lora_metadata
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
from torch.nn.functional import conv2d, linear

from common import GOLDEN, described, fresh, generator, keeping, report, stacked, write_json, write_tensors
from pipeline import NEGATIVE, PROMPT, SCHEDULE

FOLDER = GOLDEN / "lora"
EULER = EulerDiscreteScheduler(**SCHEDULE, steps_offset=1)

ATTENTION = ["to_q", "to_k", "to_v", "to_out.0"]
CLIP = ["q_proj", "k_proj", "v_proj", "out_proj"]
EVERY = [*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2", "conv_shortcut", "time_emb_proj",
         "downsamplers.0.conv", "upsamplers.0.conv", "conv_in", "linear_1"]

# name: (model, [(file, scale)])
CASES = {
    "one": ("pipeline", [("ink", 1.0)]),
    "two": ("pipeline", [("ink", 0.6), ("wash", -0.8)]),
    "dora": ("pipeline", [("dora", 1.0)]),
    "xl": ("pipeline-xl", [("sgm", 0.75)]),
}


def open_pipeline(model):
    kind = StableDiffusionPipeline if model == "pipeline" else StableDiffusionXLPipeline
    extra = {} if model == "pipeline" else {"add_watermarker": False}
    pipe = kind.from_pretrained(GOLDEN / model / "model", **extra)
    pipe.set_progress_bar_config(disable=True)
    pipe.scheduler = EULER
    return pipe


def draw_factors(model, seed):
    """Random factors: the product about a third of a weight of unit gain; magnitudes near what they are."""
    g = generator(seed)
    for name, parameter in model.named_parameters():
        if "lora_magnitude" in name:
            parameter.mul_(1 + 0.2 * torch.randn(parameter.shape, generator=g))
        elif "lora_" in name:
            gain = 0.35 if "lora_B" in name else 1.0
            parameter.copy_(gain * torch.randn(parameter.shape, generator=g) / parameter[0].numel() ** 0.5)


def save_peft(name, seed, unet, text=None, metadata=True):
    pipe = open_pipeline("pipeline")
    pipe.unet.add_adapter(unet)
    draw_factors(pipe.unet, seed)
    modules = {"unet": pipe.unet}
    layers = {"unet_lora_layers": get_peft_model_state_dict(pipe.unet)}
    if text is not None:
        pipe.text_encoder.add_adapter(text)
        draw_factors(pipe.text_encoder, seed + 1)
        modules["text_encoder"] = pipe.text_encoder
        layers["text_encoder_lora_layers"] = convert_state_dict_to_diffusers(get_peft_model_state_dict(pipe.text_encoder))
    told = _collate_lora_metadata(modules) if metadata else {}
    for config in told.values():
        # The same bytes wherever and whenever they are made.
        config |= {"base_model_name_or_path": None, "target_modules": sorted(config["target_modules"])}
    StableDiffusionPipeline.save_lora_weights(FOLDER, **layers, **told, weight_name=f"{name}.safetensors")


def sgm_name(name):
    """The tiny SDXL has one layer at each resolution, so that a resolution is two blocks of SGM's."""
    parts = name.split(".")
    if parts[0] == "down_blocks":
        block, kind, rest = int(parts[1]), parts[2], parts[4:]
        at = 1 + 2 * block if kind != "downsamplers" else 2 * (block + 1)
        head = ["input_blocks", str(at), {"resnets": "0", "attentions": "1", "downsamplers": "0"}[kind]]
        rest = ["op"] if kind == "downsamplers" else rest
    elif parts[0] == "mid_block":
        head = ["middle_block", {"resnets0": "0", "attentions0": "1", "resnets1": "2"}[parts[1] + parts[2]]]
        rest = parts[3:]
    elif parts[0] == "up_blocks":
        block, kind, rest = int(parts[1]), parts[2], parts[4:]
        head = ["output_blocks", str(2 * block + int(parts[3]) if kind != "upsamplers" else 2 * block + 1)]
        head.append({"resnets": "0", "attentions": "1", "upsamplers": "2"}[kind])
    else:
        head, rest = [], parts
    layers = {"conv1": "in_layers_2", "conv2": "out_layers_3", "time_emb_proj": "emb_layers_1", "conv_shortcut": "skip_connection"}
    return "_".join([*head, *(layers.get(part, part) for part in rest)])


def save_sgm():
    pipe = open_pipeline("pipeline-xl")
    g = generator(730)
    tensors = {}
    for prefix, model, endings in (
            ("lora_unet_", pipe.unet, (*ATTENTION, "ff.net.0.proj", "ff.net.2", "proj_in", "proj_out", "conv1", "conv2")),
            ("lora_te1_", pipe.text_encoder, (*CLIP, "fc1", "fc2")), ("lora_te2_", pipe.text_encoder_2, (*CLIP, "fc1", "fc2"))):
        for name, module in model.named_modules():
            if not name.endswith(tuple(f".{ending}" for ending in endings)):
                continue
            weight, rank = module.weight, 2
            text = name if name.startswith("text_model.") else f"text_model.{name}"
            key = prefix + (sgm_name(name) if prefix == "lora_unet_" else text.replace(".", "_"))
            down = torch.randn((rank, *weight.shape[1:]), generator=g) / weight[0].numel() ** 0.5
            up = 0.35 * torch.randn((weight.shape[0], rank, *[1] * (weight.dim() - 2)), generator=g)
            tensors |= {f"{key}.lora_down.weight": down, f"{key}.lora_up.weight": up, f"{key}.alpha": torch.tensor(1.5)}
    save_file(tensors, FOLDER / "sgm.safetensors", metadata={"ss_network_dim": "2", "ss_network_alpha": "1.5"})


def make(name, model, loras):
    pipe = open_pipeline(model)
    for file, _ in loras:
        pipe.load_lora_weights(FOLDER, weight_name=f"{file}.safetensors", adapter_name=file)
    pipe.set_adapters([file for file, _ in loras], [scale for _, scale in loras])
    arguments = dict(height=64, width=64, num_inference_steps=3, guidance_scale=5.0)
    tensors = {}

    pictures = pipe(PROMPT, negative_prompt=NEGATIVE, generator=generator(29), callback_on_step_end=keeping(tensors), **arguments).images
    tensors["images"] = stacked(pictures)
    write_tensors(FOLDER / f"case-{name}.safetensors", tensors)
    print(name, f"std {tensors['images'].float().std():.0f}")
    return {"name": name, "model": model, "loras": [{"file": file, "scale": scale} for file, scale in loras],
            "prompt": PROMPT, "negativePrompt": NEGATIVE, "seed": 29, "height": 64, "width": 64, "steps": 3, "guidanceScale": 5.0,
            "imagesPerPrompt": 1, "scheduler": described(pipe.scheduler)}


def tucker(core, a, b):
    return torch.einsum("i j k l, j r, i p -> p r k l", core, b, a)


def kronecker(small, block):
    return torch.kron(small.reshape(*small.shape, *[1] * (block.dim() - 2)), block.contiguous())


def decomposed(weight, magnitude, on_output):
    axes = tuple(range(1, weight.dim())) if on_output else (0, *range(2, weight.dim()))
    return weight * (magnitude / (torch.linalg.vector_norm(weight, dim=axes, keepdim=True) + torch.finfo(torch.float32).eps))


def layers():
    """Every kind of change, of a matrix [12, 8] or a kernel [12, 8, 3, 3]."""
    g = generator(731)
    draw = lambda *shape: torch.randn(shape, generator=g)
    tensors = {}

    def layer(kind, shape, factors, delta, alpha=None, rank=None, magnitude=None, on_output=None):
        weight = draw(*shape) / 4
        factors = {name: value / 2 for name, value in factors.items()}
        change = delta(factors).reshape(shape) * (1 if alpha is None else alpha / rank)
        if magnitude is not None:
            factors["dora_scale"] = magnitude
            change = decomposed(weight + change, magnitude, on_output) - weight
        x = draw(2, 5, shape[1]) if len(shape) == 2 else draw(2, shape[1], 6, 5)
        moved = weight + 0.7 * change
        tensors[f"{kind}:x"], tensors[f"{kind}:weight"] = x, weight
        tensors[f"{kind}:y"] = linear(x, moved) if len(shape) == 2 else conv2d(x, moved, stride=2, padding=1)
        for name, value in factors.items():
            tensors[f"lora_unet_{kind}.{name}"] = value
        if alpha is not None:
            tensors[f"lora_unet_{kind}.alpha"] = torch.tensor(float(alpha))

    m, k = (12, 8), (12, 8, 3, 3)
    up, down, mid = "lora_up.weight", "lora_down.weight", "lora_mid.weight"
    plain = lambda f: f[up].flatten(1) @ f[down].flatten(1)
    layer("lora_matrix", m, {up: draw(12, 3), down: draw(3, 8)}, plain, 2, 3)
    layer("lora_kernel", k, {up: draw(12, 3, 1, 1), down: draw(3, 8, 3, 3)}, plain, 2, 3)
    layer("lora_mid", k, {up: draw(12, 3, 1, 1), mid: draw(3, 3, 3, 3), down: draw(3, 8, 1, 1)},
          lambda f: tucker(f[mid], f[up].flatten(1).T, f[down].flatten(1)), 2, 3)
    hada = lambda f: (f["hada_w1_a"] @ f["hada_w1_b"]) * (f["hada_w2_a"] @ f["hada_w2_b"])
    pair = lambda width: {"hada_w1_a": draw(12, 3), "hada_w1_b": draw(3, width), "hada_w2_a": draw(12, 3), "hada_w2_b": draw(3, width)}
    layer("loha_matrix", m, pair(8), hada, 2, 3)
    layer("loha_kernel", k, pair(72), hada, 2, 3)
    layer("loha_tucker", k, {"hada_t1": draw(3, 3, 3, 3), "hada_w1_a": draw(3, 12), "hada_w1_b": draw(3, 8),
                             "hada_t2": draw(3, 3, 3, 3), "hada_w2_a": draw(3, 12), "hada_w2_b": draw(3, 8)},
          lambda f: tucker(f["hada_t1"], f["hada_w1_a"], f["hada_w1_b"]) * tucker(f["hada_t2"], f["hada_w2_a"], f["hada_w2_b"]), 2, 3)
    # Whole on both sides, alpha counts for nothing.
    layer("lokr_whole", m, {"lokr_w1": draw(3, 2), "lokr_w2": draw(4, 4)}, lambda f: kronecker(f["lokr_w1"], f["lokr_w2"]))
    tensors["lora_unet_lokr_whole.alpha"] = torch.tensor(100.0)
    layer("lokr_block", k, {"lokr_w1": draw(3, 2), "lokr_w2_a": draw(4, 5), "lokr_w2_b": draw(5, 36)},
          lambda f: kronecker(f["lokr_w1"], (f["lokr_w2_a"] @ f["lokr_w2_b"]).reshape(4, 4, 3, 3)), 2, 5)
    layer("lokr_both", m, {"lokr_w1_a": draw(3, 2), "lokr_w1_b": draw(2, 2), "lokr_w2_a": draw(4, 2), "lokr_w2_b": draw(2, 4)},
          lambda f: kronecker(f["lokr_w1_a"] @ f["lokr_w1_b"], f["lokr_w2_a"] @ f["lokr_w2_b"]), 3, 2)
    layer("lokr_tucker", k, {"lokr_w1": draw(3, 2), "lokr_t2": draw(2, 2, 3, 3), "lokr_w2_a": draw(2, 4), "lokr_w2_b": draw(2, 4)},
          lambda f: kronecker(f["lokr_w1"], tucker(f["lokr_t2"], f["lokr_w2_a"], f["lokr_w2_b"])), 1, 2)
    layer("dora_matrix", m, {up: draw(12, 3), down: draw(3, 8)}, plain, 2, 3, magnitude=draw(12, 1).abs(), on_output=True)
    layer("dora_inputs", k, {up: draw(12, 3, 1, 1), down: draw(3, 8, 3, 3)}, plain, 2, 3, magnitude=draw(1, 8, 1, 1).abs(), on_output=False)
    layer("dora_loha", k, pair(72), hada, 2, 3, magnitude=draw(12, 1, 1, 1).abs(), on_output=True)
    write_tensors(FOLDER / "layers.safetensors", tensors)


@torch.no_grad()
def main():
    fresh(FOLDER)
    save_peft("ink", 700, LoraConfig(r=3, lora_alpha=5, target_modules=EVERY, alpha_pattern={"attn2.to_q": 1}),
              LoraConfig(r=2, lora_alpha=3, target_modules=[*CLIP, "fc1", "fc2"]))
    save_peft("wash", 710, LoraConfig(r=2, lora_alpha=2, target_modules=ATTENTION), metadata=False)
    save_peft("dora", 720, LoraConfig(r=2, lora_alpha=2, target_modules=[*ATTENTION, "ff.net.0.proj", "conv1"], use_dora=True))
    save_sgm()
    layers()
    write_json(FOLDER / "cases.json", [make(name, *case) for name, case in CASES.items()])
    report(FOLDER)


if __name__ == "__main__":
    main()
