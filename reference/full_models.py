"""
What torch makes of each part of the full-size models that `npm run test:full` wrote into LIMN_FULL_DIR.

    python reference/full_models.py <folder>                   about 20 GB of memory
    python reference/full_models.py <folder> kolors            that model alone: 3 GB

Of Kolors only the text encoder is made, one layer after the other: its other parts are those of SDXL.

<folder>/<model>/torch-<part>.safetensors   "in." and an input of limn's network, "out." and an output, float32 and int64
"""

import json
import sys
import time
from pathlib import Path

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel, GLMBlock, RotaryEmbedding
from safetensors import safe_open
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from chatglm import rows as chatglm_rows
import unet as denoisers
import vae as autoencoders
from common import generator, write_tensors

START, END, LENGTH = 49406, 49407, 77


def clip_text(folder, part, dtype):
    kind = CLIPTextModelWithProjection if part == "text_encoder_2" else CLIPTextModel
    # JavaScript writes 1.0 as 1, which transformers takes for no float.
    config = json.loads((folder / part / "config.json").read_text()) | {"initializer_factor": 1.0, "attention_dropout": 0.0}
    return kind.from_pretrained(folder / part, config=CLIPTextConfig(**config), dtype=dtype).eval()


def text_encoder(folder, part, penultimate):
    model = clip_text(folder, part, torch.float32)
    words = torch.randint(3, START, (1, 9), generator=generator(21))
    end = words.shape[1] + 1
    pad = 0 if part == "text_encoder_2" else END
    ids = torch.full((1, LENGTH), pad)
    ids[:, 0], ids[:, 1:end], ids[:, end] = START, words, END
    found = model(input_ids=ids, output_hidden_states=True)
    tensors = {"in.ids": ids, "out.state.0": found.hidden_states[-2] if penultimate else found.last_hidden_state}
    if part == "text_encoder_2":
        tensors |= {"in.end": torch.tensor([end]), "out.pooled": found.text_embeds}
    return {part: tensors}


def chatglm(folder):
    """What ChatGLMModel.forward does, with the weights of one layer in memory at a time."""
    path = folder / "text_encoder"
    config = ChatGLMConfig(**json.loads((path / "config.json").read_text()))
    rows = chatglm_rows({"padded_vocab_size": config.padded_vocab_size}, (40,), 256, seed=24)
    ids, mask, positions = rows["input_ids"], rows["attention_mask"], rows["position_ids"]
    blocked = ChatGLMModel.get_masks(None, ids, None, padding_mask=mask)
    turns = RotaryEmbedding(config.kv_channels // 2, original_impl=config.original_rope)(config.seq_length)
    turns = turns[positions].transpose(0, 1).contiguous()
    with safe_open(path / "model.safetensors", "pt") as file:
        table = file.get_slice("embedding.word_embeddings.weight")
        states = [torch.stack([table[int(i)] for i in ids[0]]).float()[:, None]]
        for index in range(config.num_layers):
            with torch.device("meta"):
                block = GLMBlock(config, index + 1)
            prefix = f"encoder.layers.{index}."
            weights = {name[len(prefix):]: file.get_tensor(name).float() for name in file.keys() if name.startswith(prefix)}
            block.load_state_dict(weights, assign=True)
            states.append(block.eval()(states[-1], blocked, turns, use_cache=False)[0])
            del states[:-2], block, weights
    inputs = {"in.ids": ids, "in.attentionMask": mask, "in.positionIds": positions}
    return {"text_encoder": inputs | {"out.state.0": states[-2].transpose(0, 1), "out.pooled": states[-1][-1]}}


def unet(folder):
    model = UNet2DConditionModel.from_pretrained(folder / "unet", torch_dtype=torch.float32).eval()
    size = model.config.sample_size
    tensors = denoisers.inputs(model, (1, size, size, LENGTH, [999]), generator(22))
    names = {"sample": "sample", "timestep": "timestep", "encoder_hidden_states": "encoderHiddenStates",
             "text_embeds": "textEmbeds", "time_ids": "timeIds"}
    return {"unet": {f"in.{names[name]}": value for name, value in tensors.items()}
            | {"out.output": denoisers.run(model, tensors)}}


def vae(folder):
    model = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.float32).eval()
    size = json.loads((folder / "unet" / "config.json").read_text())["sample_size"]
    g = generator(23)
    image = torch.rand(1, 3, 8 * size, 8 * size, generator=g) * 2 - 1
    latents = torch.randn(1, model.config.latent_channels, size, size, generator=g)
    return {"vae-encoder": {"in.image": image, "out.moments": autoencoders.moments(model, image)},
            "vae-decoder": {"in.latents": latents,
                            "out.image": model.decode(latents / model.config.scaling_factor).sample}}


def makers(folder):
    if json.loads((folder / "text_encoder" / "config.json").read_text())["model_type"] == "chatglm":
        return [lambda: chatglm(folder)]
    both = (folder / "text_encoder_2").exists()
    texts = ["text_encoder", "text_encoder_2"] if both else ["text_encoder"]
    return [*(lambda part=part: text_encoder(folder, part, both) for part in texts), lambda: unet(folder),
            lambda: vae(folder)]


@torch.no_grad()
def main(root, name="*"):
    for folder in sorted(path.parent for path in root.glob(f"{name}/model_index.json")):
        # One part after the other, so that only one is in memory.
        for make in makers(folder):
            began = time.perf_counter()
            for name, tensors in make().items():
                write_tensors(folder / f"torch-{name}.safetensors", tensors)
                stds = ", ".join(f"{key} std {value.std():.3f}" for key, value in tensors.items() if key.startswith("out."))
                print(f"{folder.name} {name}: {stds}; {time.perf_counter() - began:.1f} s")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
