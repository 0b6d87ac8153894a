"""
CLIPTokenizer over the small vocabulary that limn learned, loaded with the settings that published models use.

test/golden/clip-tokenizer-learned/cases.json
    [{config, specialTokens, rows: [[text, ids, row, decoded], ...]}, ...]
    config and specialTokens: tokenizer_config.json and special_tokens_map.json, null where the folder has none;
    ids without start and end; row with both, cut and padded to 16; decoded: what the ids decode to

Reads vocab.json and merges.txt of the same folder, which limn wrote: that transformers loads them is half the test.
"""

import json
import random
import tempfile
from pathlib import Path

from transformers import CLIPTokenizer

from common import GOLDEN

FOLDER = GOLDEN / "clip-tokenizer-learned"
LENGTH = 16

TEXTS = [
    "", " ", "a red apple", "A RED APPLE!", "two cats' hats", "it's 't 'RE !'ll", "红苹果", "一张红色苹果的贴纸", "蓝色的猫 and a dog",
    "café", "cafe\u0301", "ΣΑΣ σας", "İstanbul", "ſ's", "1234 苹果5", "a\u3000b\u0085c\ufeffd", "\u200b", "😀🏳️‍🌈", "\u0000\ufffd",
    "a cat!", "wow!!! 'tis", "x<|endoftext|>y", "x<|EndOfText|>!y", "<|startoftext|>", "<|STARTOFTEXT|>", "<|pad|>", "<|endoftext",
    "a <cat-toy>", "A <Cat-Toy>b", "<dog>", "<DOG>x", "<DOG><DOGS>", "<cat-toy><|endoftext|>!", "don't <|endoftext|>s",
    "a yellow house left of a white umbrella", "黄色房子左边的白色雨伞", "a" * 40, "猫" * 20, "!" * 20,
]


def token(content, normalized, special=True):
    flags = {"lstrip": False, "rstrip": False, "single_word": False}
    return {"content": content, "normalized": normalized, "special": special, **flags}


def named(normalized):
    start, end = token("<|startoftext|>", normalized), token("<|endoftext|>", normalized)
    return {"bos_token": start, "eos_token": end, "unk_token": end}


NAMES = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
LIMIT = {"model_max_length": LENGTH, "tokenizer_class": "CLIPTokenizer"}
STARTS = {"813": token("<|startoftext|>", True), "814": token("<|endoftext|>", True)}

SETTINGS = [
    # No more than the two files of the vocabulary, and a length.
    (LIMIT, None),
    # Stable Diffusion 1: the plain string for the padding takes over how the end is looked for.
    ({**LIMIT, **named(True), "pad_token": "<|endoftext|>"}, {**named(True), "pad_token": "<|endoftext|>"}),
    # SDXL's second tokenizer, where "!" pads and is looked for in the prompt.
    ({**LIMIT, **NAMES, "pad_token": "!", "added_tokens_decoder": {"0": token("!", False), **STARTS}}, None),
    # The same, as transformers wrote it before it listed the added tokens; the map is read over the config.
    ({**LIMIT, **named(True), "pad_token": "<|endoftext|>"}, {**named(False), "pad_token": "!"}),
    # Tokens beyond the vocabulary, one of them in capitals, one the beginning of another; here the map is not read.
    (
        {
            **LIMIT,
            **NAMES,
            "pad_token": "<|endoftext|>",
            "added_tokens_decoder": {
                **STARTS,
                "815": token("<Cat-Toy>", True, special=False),
                "816": token("<DOG>", False),
                "817": token("<DOG><DOGS>", False),
            },
        },
        {"pad_token": "!"},
    ),
]


def noise(rng):
    """Strings in which the rules meet each other."""
    pools = ["aAbcdeéΣİ红猫苹果的😀", "  \t\u3000'!<>|.", ["'s", "'T", "<|endoftext|>", "<DOG>", "<cat-toy>", "!", "1", "一"]]
    for _ in range(60):
        yield "".join(rng.choice(rng.choice(pools)) for _ in range(rng.randint(1, 20)))


def cases(config, special_tokens):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for file in ("vocab.json", "merges.txt"):
            (folder / file).write_text((FOLDER / file).read_text("utf8"), "utf8")
        for file, content in (("tokenizer_config", config), ("special_tokens_map", special_tokens)):
            if content is not None:
                (folder / f"{file}.json").write_text(json.dumps(content), "utf8")
        tokenizer = CLIPTokenizer.from_pretrained(folder)
    rows = []
    for text in [*TEXTS, *noise(random.Random(5))]:
        ids = tokenizer(text, add_special_tokens=False).input_ids
        row = tokenizer(text, padding="max_length", truncation=True, max_length=LENGTH).input_ids
        rows.append([text, ids, row, tokenizer.decode(ids)])
    return {"config": config, "specialTokens": special_tokens, "rows": rows}


def main():
    groups = [cases(*setting) for setting in SETTINGS]
    path = FOLDER / "cases.json"
    path.write_text(json.dumps(groups, separators=(",", ":")).replace("[[", "[\n[").replace("],[\"", "],\n[\"") + "\n")
    print(f"{len(groups)} settings, {len(groups[0]['rows'])} texts each, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
