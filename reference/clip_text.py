"""
CLIPTextModel and CLIPTextModelWithProjection: tiny text encoders with inputs and every state.

test/golden/clip-text/<name>/
  config.json, model.safetensors   names as published files keep them, with the leading `text_model.`
  case.safetensors                 input_ids int64 [B, T] -> hidden_states.0 ... hidden_states.L [B, T, D],
                                   last_hidden_state [B, T, D], pooled [B, D] [, text_embeds [B, P]]
"""

import torch
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from common import GOLDEN, fresh, generator, randomize, report, write_json, write_tensors

LEGACY_END = 2
PAD = 1

# name: (class, config, the ids' end token as the tokenizer writes it, batch, tokens)
MODELS = {
    # Stable Diffusion 1.x: config says end is 2, the tokenizer's end is the greatest id.
    "quick-gelu-legacy-end": (
        CLIPTextModel, dict(hidden_act="quick_gelu", hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=4,
                            vocab_size=100, max_position_embeddings=77, eos_token_id=LEGACY_END, bos_token_id=0, projection_dim=32),
        99, 2, 77),
    # SDXL's second encoder: erf gelu and a projection of the pooled state.
    "gelu-projection": (
        CLIPTextModelWithProjection,
        dict(hidden_act="gelu", hidden_size=40, intermediate_size=80, num_hidden_layers=2, num_attention_heads=5,
             vocab_size=90, max_position_embeddings=16, eos_token_id=89, bos_token_id=88, projection_dim=24),
        89, 3, 16),
    # The end token is neither the greatest id nor last; fewer tokens than positions.
    "end-within": (
        CLIPTextModel, dict(hidden_act="gelu", hidden_size=24, intermediate_size=56, num_hidden_layers=2, num_attention_heads=3,
                            vocab_size=120, max_position_embeddings=16, eos_token_id=60, bos_token_id=0, projection_dim=24),
        60, 4, 11),
    "one-head-one-layer": (
        CLIPTextModel, dict(hidden_act="quick_gelu", hidden_size=16, intermediate_size=48, num_hidden_layers=1, num_attention_heads=1,
                            vocab_size=50, max_position_embeddings=16, eos_token_id=LEGACY_END, bos_token_id=0, projection_dim=16,
                            layer_norm_eps=1e-3),
        49, 1, 5),
}


def build(name):
    """The model `name`, always with the same weights."""
    kind, config, *_ = MODELS[name]
    torch.manual_seed(0)
    return randomize(kind(CLIPTextConfig(pad_token_id=PAD, **config)), seed=200 + list(MODELS).index(name))


def ids(name):
    """Random ids; in each row the end token stands somewhere, once or (padding as SD 1.x does it) to the row's end."""
    _, config, end, batch, tokens = MODELS[name]
    g = generator(8)
    words = torch.randint(3, config["vocab_size"] - 2, (batch, tokens), generator=g)
    words[words == end] += 1
    for row in range(batch):
        at = (row * 5 + 3) % tokens
        if row % 2 == 0:
            words[row, at:] = end
        else:
            words[row, at] = end
    return words


def save(model, folder):
    """transformers 5 drops `text_model.` in memory; published files have it."""
    tensors = {(key if key.startswith(("text_model.", "text_projection.")) else f"text_model.{key}"): value
               for key, value in model.state_dict().items()}
    write_tensors(folder / "model.safetensors", tensors)
    config = model.config.to_diff_dict()
    kept = {key: config[key] for key in sorted(config) if key not in ("dtype", "transformers_version")}
    shape = ("hidden_act", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size",
             "max_position_embeddings", "layer_norm_eps", "projection_dim", "bos_token_id", "eos_token_id", "pad_token_id")
    kept |= {key: getattr(model.config, key) for key in shape}
    write_json(folder / "config.json", {"architectures": [type(model).__name__], **kept})


@torch.no_grad()
def main():
    fresh(GOLDEN / "clip-text")
    for name in MODELS:
        folder = fresh(GOLDEN / "clip-text" / name)
        model = build(name)
        save(model, folder)
        words = ids(name)
        out = model(words, output_hidden_states=True)
        tensors = {"input_ids": words, "last_hidden_state": out.last_hidden_state}
        tensors |= {f"hidden_states.{i}": state for i, state in enumerate(out.hidden_states)}
        if hasattr(out, "text_embeds"):
            tensors["text_embeds"] = out.text_embeds
            tensors["pooled"] = pooled(model, words, out)
        else:
            tensors["pooled"] = out.pooler_output
        write_tensors(folder / "case.safetensors", tensors)
        report(folder)


def pooled(model, words, out):
    """What text_projection saw; the projecting model does not return it."""
    at = (words == model.config.eos_token_id).int().argmax(dim=-1)
    state = out.last_hidden_state[torch.arange(len(words)), at]
    assert torch.allclose(model.text_projection(state), out.text_embeds, atol=1e-6)
    return state


if __name__ == "__main__":
    main()
