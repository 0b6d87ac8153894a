"""
What checkpoints in one file call their tensors, and what diffusers and transformers call them.

test/golden/keys/ldm_sd14.txt.gz   Stable Diffusion 1.4's U-Net and autoencoder
test/golden/keys/ldm_controlnet.txt.gz   a ControlNet for it
test/golden/keys/sgm_sdxl.txt.gz   SDXL, whole
  a row: name in the file, name in diffusers with its part ("unet.", "vae.", "controlnet.", "text_encoder.", "text_encoder_2."), shape in
  the file, and how the one lies in the other: "" as it is, "i/n" as the i-th of n blocks of rows, "T" transposed

diffusers' own converters say which is which: each tensor goes through them with numbers of its own. Names of SDXL's U-Net
are listed block by block as the constructor of generative-models' `UNetModel` makes them, those of its second text
encoder as OpenCLIP's `TextTransformer` does, those that a ControlNet adds to a U-Net as its authors' `ControlNet` does; all that diffusers' classes have must come out of them. Needs
`../shared/keys` beside the repository.
"""

import gzip
import json

import torch
from diffusers import ControlNetModel
from diffusers.loaders.single_file_utils import (convert_controlnet_checkpoint, convert_ldm_clip_checkpoint, convert_ldm_unet_checkpoint,
                                                 convert_ldm_vae_checkpoint, convert_open_clip_checkpoint)

from common import GOLDEN

KEYS = GOLDEN.parent.parent.parent / "shared" / "keys"
SD1 = dict(layers_per_block=2, class_embed_type=None, addition_embed_type=None)
SDXL = SD1 | dict(addition_embed_type="text_time")
VAE = dict(down_block_types=["DownEncoderBlock2D"] * 4, up_block_types=["UpDecoderBlock2D"] * 4)
FIRST, SECOND = "conditioner.embedders.0.transformer.", "conditioner.embedders.1.model."


def listed(name):
    """name -> shape."""
    lines = [line.split("\t") for line in (KEYS / f"{name}.txt").read_text().strip().split("\n")]
    return {name: json.loads(shape) for name, shape in lines}


def numbered(names):
    return {name: torch.full([1, 1], float(i)) for i, name in enumerate(names)}


def converted(part, convert, names):
    """Name in the file -> name in diffusers."""
    names = list(names)
    return {names[int(value.flatten()[0].item())]: f"{part}.{name}" for name, value in convert(numbered(names)).items()}


def both(*stems):
    return [f"{stem}.{kind}" for stem in stems for kind in ("weight", "bias")]


def residual(block, shortcut):
    layers = ["in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3"]
    return both(*(f"{block}.{layer}" for layer in layers + ["skip_connection"] * shortcut))


def transformer(block, depth):
    names = both(f"{block}.norm", f"{block}.proj_in", f"{block}.proj_out")
    for k in range(depth):
        inner = f"{block}.transformer_blocks.{k}"
        names += both(*(f"{inner}.{layer}" for layer in ("attn1.to_out.0", "attn2.to_out.0", "ff.net.0.proj", "ff.net.2",
                                                         "norm1", "norm2", "norm3")))
        names += [f"{inner}.attn{i}.to_{which}.weight" for i in (1, 2) for which in "qkv"]
    return names


def sdxl_unet():
    """As `UNetModel(model_channels=320, channel_mult=[1, 2, 4], num_res_blocks=2, transformer_depth=[1, 2, 10])` has them."""
    names = both("time_embed.0", "time_embed.2", "label_emb.0.0", "label_emb.0.2", "input_blocks.0.0", "out.0", "out.2")
    widths, depths, block, width, skips = (1, 2, 4), (0, 2, 10), 1, 1, [1]
    for level, (out, depth) in enumerate(zip(widths, depths)):
        for _ in range(2):
            names += residual(f"input_blocks.{block}.0", width != out)
            names += transformer(f"input_blocks.{block}.1", depth) if depth else []
            width, block = out, block + 1
            skips.append(width)
        if level < 2:
            names += both(f"input_blocks.{block}.0.op")
            block += 1
            skips.append(width)
    names += residual("middle_block.0", False) + transformer("middle_block.1", 10) + residual("middle_block.2", False)
    block = 0
    for level, (out, depth) in reversed(list(enumerate(zip(widths, depths)))):
        for i in range(3):
            names += residual(f"output_blocks.{block}.0", width + skips.pop() != out)
            names += transformer(f"output_blocks.{block}.1", depth) if depth else []
            if level and i == 2:
                names += both(f"output_blocks.{block}.{2 if depth else 1}.conv")
            width, block = out, block + 1
    return names


def open_clip(width, projected, layers=32):
    """bigG's text encoder by OpenCLIP's names, as narrow as `width`; every number is another."""
    names = {"positional_embedding": (77, width), "token_embedding.weight": (49, width), "ln_final.weight": (width,),
             "ln_final.bias": (width,), "text_projection": (width, projected), "logit_scale": ()}
    for n in range(layers):
        block = f"transformer.resblocks.{n}"
        names |= {f"{block}.{norm}.{kind}": (width,) for norm in ("ln_1", "ln_2") for kind in ("weight", "bias")}
        names |= {f"{block}.attn.in_proj_weight": (3 * width, width), f"{block}.attn.in_proj_bias": (3 * width,),
                  f"{block}.attn.out_proj.weight": (width, width), f"{block}.attn.out_proj.bias": (width,),
                  f"{block}.mlp.c_fc.weight": (4 * width, width), f"{block}.mlp.c_fc.bias": (4 * width,),
                  f"{block}.mlp.c_proj.weight": (width, 4 * width), f"{block}.mlp.c_proj.bias": (width,)}
    tensors, used = {}, 0
    for name, shape in names.items():
        count = torch.Size(shape).numel()
        tensors[name] = torch.arange(used, used + count, dtype=torch.float64).reshape(shape)
        used += count
    return tensors


def second_text_rows():
    """Which tensor of transformers' holds which numbers of OpenCLIP's."""
    shapes = listed("clip_bigg_text")
    theirs = open_clip(4, 3)
    ours = convert_open_clip_checkpoint(None, {SECOND + name: value for name, value in theirs.items()}, prefix=SECOND)
    assert set(ours) == set(shapes), set(ours) ^ set(shapes)
    rows = []
    for name, value in ours.items():
        first = value.flatten()[0].item()
        source = next(key for key, other in theirs.items() if (other == first).any())
        whole, shape = theirs[source], shapes[name]
        if torch.equal(value, whole):
            how = ""
        elif whole.dim() == 2 and torch.equal(value, whole.T):
            how, shape = "T", shape[::-1]
        else:
            parts = whole.shape[0] // value.shape[0]
            part = next(i for i, chunk in enumerate(whole.chunk(parts)) if torch.equal(chunk, value))
            how, shape = f"{part}/{parts}", [shape[0] * parts, *shape[1:]]
        rows.append((SECOND + source, f"text_encoder_2.{name}", shape, how))
    assert {row[0] for row in rows} == {SECOND + name for name in theirs if name != "logit_scale"}
    return rows


def controlnet_rows():
    """Of the U-Net all but the way up, and what `ControlNet(hint_channels=3, model_channels=320)` has beside it."""
    with torch.device("meta"):
        shapes = {name: list(value.shape) for name, value in ControlNetModel(cross_attention_dim=768).state_dict().items()}
    unet = [name.removeprefix("model.diffusion_model.") for name in listed("ldm_sd14") if name.startswith("model.diffusion_model.")]
    names = [name for name in unet if not name.startswith(("output_blocks.", "out."))]
    names += both(*(f"zero_convs.{i}.0" for i in range(12)), *(f"input_hint_block.{i}" for i in range(0, 16, 2)), "middle_block_out.0")
    ours = converted("controlnet", lambda tensors: convert_controlnet_checkpoint(tensors, SD1), [f"control_model.{name}" for name in names])
    assert sorted(ours.values()) == sorted(f"controlnet.{name}" for name in shapes)
    return [(name, one, shapes[one.removeprefix("controlnet.")], "") for name, one in ours.items()]


def write(name, rows):
    path = GOLDEN / "keys" / f"{name}.txt.gz"
    text = "".join(f"{theirs}\t{ours}\t{json.dumps(shape)}\t{how}\n" for theirs, ours, shape, how in rows)
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(path.relative_to(GOLDEN.parent.parent), len(rows), "names")


def main():
    sd14 = listed("ldm_sd14")
    autoencoder = converted("vae", lambda tensors: convert_ldm_vae_checkpoint(tensors, VAE), sd14)
    ours = converted("unet", lambda tensors: convert_ldm_unet_checkpoint(tensors, SD1), sd14) | autoencoder
    write("ldm_sd14", [(name, ours[name], shape, "") for name, shape in sd14.items()])

    write("ldm_controlnet", controlnet_rows())

    shapes = listed("sdxl_unet")
    unet = converted("unet", lambda tensors: convert_ldm_unet_checkpoint(tensors, SDXL),
                     [f"model.diffusion_model.{name}" for name in sdxl_unet()])
    assert sorted(unet.values()) == sorted(f"unet.{name}" for name in shapes)
    rows = [(name, ours, shapes[ours.removeprefix("unet.")], "") for name, ours in unet.items()]
    rows += [(name, autoencoder[name], sd14[name], "") for name in autoencoder]
    # The list is transformers 5's, which files do not follow: they keep "text_model.".
    clip = {f"{FIRST}text_model.{name}": shape for name, shape in listed("clip_l_text").items()}
    first = converted("text_encoder", lambda tensors: convert_ldm_clip_checkpoint(tensors), clip)
    assert len(first) == len(clip)
    rows += [(name, first[name], shape, "") for name, shape in clip.items()]
    write("sgm_sdxl", rows + second_text_rows())


if __name__ == "__main__":
    main()
