"""
CLIPVisionModelWithProjection: tiny image encoders with inputs and every state.

test/golden/clip-vision/<name>/
  config.json, model.safetensors   names as published files keep them, with the leading `vision_model.`
  case.safetensors                 pixels [B, 3, S, S] -> hidden_states.0 ... hidden_states.L [B, 1 + patches, D],
                                   image_embeds [B, P]
"""

import torch
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from common import GOLDEN, fresh, generator, randomize, report, write_json, write_tensors

# name: (config, batch)
MODELS = {
    # The activation of CLIP's own checkpoints, with the head size of a small model.
    "quick-gelu": (dict(hidden_act="quick_gelu", hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
                        image_size=24, patch_size=4, projection_dim=20), 2),
    # The activation of OpenCLIP's, as in the image encoders of IP-Adapters; a patch size that is no power of two.
    "gelu": (dict(hidden_act="gelu", hidden_size=30, intermediate_size=44, num_hidden_layers=2, num_attention_heads=3,
                  image_size=21, patch_size=7, projection_dim=36, layer_norm_eps=1e-3), 3),
}

SHAPE = ("hidden_act", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "image_size", "patch_size",
         "layer_norm_eps", "projection_dim")


def build(name):
    """The model `name`, always with the same weights."""
    config, _ = MODELS[name]
    torch.manual_seed(0)
    return randomize(CLIPVisionModelWithProjection(CLIPVisionConfig(**config)), seed=700 + list(MODELS).index(name))


def save(model, folder):
    """Published files have the prefix on every name but the projection's."""
    tensors = {(key if key.startswith(("vision_model.", "visual_projection.")) else f"vision_model.{key}"): value
               for key, value in model.state_dict().items() if not key.endswith("position_ids")}
    write_tensors(folder / "model.safetensors", tensors)
    write_json(folder / "config.json", {
        "architectures": [type(model).__name__],
        "model_type": model.config.model_type,
        **{key: getattr(model.config, key) for key in SHAPE},
    })


@torch.no_grad()
def main():
    fresh(GOLDEN / "clip-vision")
    for index, (name, (config, batch)) in enumerate(MODELS.items()):
        folder = fresh(GOLDEN / "clip-vision" / name)
        model = build(name)
        save(model, folder)
        pixels = torch.randn(batch, 3, config["image_size"], config["image_size"], generator=generator(80 + index))
        out = model(pixels, output_hidden_states=True)
        tensors = {"pixels": pixels, "image_embeds": out.image_embeds}
        tensors |= {f"hidden_states.{i}": state for i, state in enumerate(out.hidden_states)}
        write_tensors(folder / "case.safetensors", tensors)
        report(folder)


if __name__ == "__main__":
    main()
