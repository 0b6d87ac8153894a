"""
ChatGLMModel, the text encoder of Kolors: tiny random ones with inputs and the states that the pipelines read.

test/golden/chatglm/<name>/
  config.json, model.safetensors   names as published files keep them, with what is after the last layer
  case.safetensors                 input_ids, attention_mask, position_ids int64 [B, T]
                                   -> hidden_states.0 ... hidden_states.L [B, T, H], pooled [B, H]
"""

import torch
from diffusers.pipelines.kolors.text_encoder import ChatGLMConfig, ChatGLMModel

from common import GOLDEN, fresh, generator, randomize, report, write_json, write_tensors

# What all of the published model's configuration says beside its sizes.
PUBLISHED = dict(multi_query_attention=True, add_qkv_bias=True, add_bias_linear=False, rmsnorm=True, post_layer_norm=True,
                 layernorm_epsilon=1e-5, apply_query_key_layer_scaling=True, original_rope=True)

# name: (config, padding before each row of the batch, tokens in a row)
MODELS = {
    "two-groups": (dict(num_layers=3, hidden_size=24, ffn_hidden_size=36, kv_channels=8, num_attention_heads=4,
                        multi_query_group_num=2, padded_vocab_size=60, seq_length=64), (0, 5, 12), 13),
    "one-group": (dict(num_layers=2, hidden_size=24, ffn_hidden_size=30, kv_channels=8, num_attention_heads=3,
                       multi_query_group_num=1, padded_vocab_size=50, seq_length=32), (7, 3), 9),
    # Heads that are wider together than the state, biases everywhere, another epsilon, as many groups as heads.
    "wide-heads": (dict(num_layers=2, hidden_size=20, ffn_hidden_size=36, kv_channels=16, num_attention_heads=2,
                        multi_query_group_num=2, padded_vocab_size=40, seq_length=32, add_bias_linear=True,
                        layernorm_epsilon=1e-2), (6,), 7),
    # No padding at all, which takes the reference another way; and none of the biases.
    "unpadded": (dict(num_layers=2, hidden_size=28, ffn_hidden_size=40, kv_channels=8, num_attention_heads=6,
                      multi_query_group_num=2, padded_vocab_size=45, seq_length=32, add_qkv_bias=False), (0, 0), 5),
    # As long as Kolors' rows are.
    "long": (dict(num_layers=2, hidden_size=16, ffn_hidden_size=24, kv_channels=4, num_attention_heads=4,
                  multi_query_group_num=2, padded_vocab_size=70, seq_length=256), (201, 0), 255),
}


def chatglm(config, seed):
    torch.manual_seed(0)
    model = ChatGLMModel(ChatGLMConfig(**{**PUBLISHED, **config}), empty_init=False)
    # Its normalisations begin at nothing in particular.
    for name, parameter in model.named_parameters():
        if "layernorm" in name:
            torch.nn.init.ones_(parameter)
    return randomize(model, seed=seed)


def save(model, folder, prefix="", file="model.safetensors"):
    """The folder of a text encoder; THUDM's own files call everything `transformer.`."""
    write_tensors(folder / file, {f"{prefix}{name}": value for name, value in model.state_dict().items()})
    save_config(model, folder)


def save_config(model, folder):
    keys = ("num_layers", "padded_vocab_size", "hidden_size", "ffn_hidden_size", "kv_channels", "num_attention_heads",
            "multi_query_group_num", "seq_length", *PUBLISHED)
    write_json(folder / "config.json", {"architectures": ["ChatGLMModel"], "model_type": "chatglm",
                                        **{key: getattr(model.config, key) for key in sorted(keys)}})


def rows(config, paddings, tokens, seed):
    """Random ids behind padding, and the masks and positions that the tokenizer gives with them."""
    ids = torch.randint(1, config["padded_vocab_size"], (len(paddings), tokens), generator=generator(seed))
    mask = torch.ones_like(ids)
    positions = torch.zeros_like(ids)
    for row, padding in enumerate(paddings):
        ids[row, :padding] = 0
        mask[row, :padding] = 0
        positions[row, padding:] = torch.arange(tokens - padding)
    return {"input_ids": ids, "attention_mask": mask, "position_ids": positions}


@torch.no_grad()
def main():
    fresh(GOLDEN / "chatglm")
    for number, (name, (config, paddings, tokens)) in enumerate(MODELS.items()):
        folder = fresh(GOLDEN / "chatglm" / name)
        model = chatglm(config, seed=700 + number)
        save(model, folder)
        inputs = rows(config, paddings, tokens, seed=710 + number)
        states = model(**inputs, output_hidden_states=True).hidden_states
        tensors = {f"hidden_states.{i}": state.permute(1, 0, 2) for i, state in enumerate(states)}
        write_tensors(folder / "case.safetensors", inputs | tensors | {"pooled": states[-1][-1]})
        report(folder)


if __name__ == "__main__":
    main()
