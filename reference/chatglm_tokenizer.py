"""
ChatGLMTokenizer over the published tokenizer.model, and over two small ones learnt here: texts and their ids.

test/golden/chatglm-tokenizer/
  learned.model   700 pieces with ChatGLM's settings: BPE, bytes for what is unknown, a space before the text
  symbols.model   without bytes and that space; with symbols of its own to find in a text, and many pieces of one score
  published.json  [[text, ids], ...] by the published tokenizer.model, without [gMASK] and sop
  learned.json    [{config, rows: [[text, ids, row, decoded], ...]}, ...] by learned.model
                  config: tokenizer_config.json, null where there is none; row: {ids, attentionMask, positionIds} of 16;
                  decoded: what the ids decode to
  symbols.json    [[text, ids, decoded], ...] by symbols.model, of SentencePieceProcessor alone
  decoded.json    [[ids, text], ...]: what ids drawn at random decode to by learned.model

Needs `../shared/data` beside the repository: tokenizers/chatglm3/tokenizer.model and prompts/.
"""

import io
import json
import random
import struct
import tempfile
from pathlib import Path

from diffusers.pipelines.kolors.tokenizer import ChatGLMTokenizer
from sentencepiece import SentencePieceProcessor, SentencePieceTrainer

from clip_tokenizer import SHARED, SINGLE, noise, prompts
from common import GOLDEN, fresh, report

FOLDER = GOLDEN / "chatglm-tokenizer"
PUBLISHED = SHARED / "tokenizers" / "chatglm3" / "tokenizer.model"
LENGTH = 16

OWN = [
    # The names of special tokens and pieces, alone, in words, doubled, cut short.
    "[MASK]", "[gMASK]", "[sMASK]", "sop", "eop", "<|system|>", "<|user|>", "<|assistant|>", "<|observation|>", "<unk>", "<s>", "</s>", "<pad>",
    "[gMASK]sop<|user|>\n a cat<|assistant|>", "soprano", "Aesop's sop", "soap opera sopsop", "a sop b", "<|user|><|user|>", "<|user|", "|user|>", "<|user |>", "[gMASK", "[[gMASK]]",
    "a</s>b", " </s> ", "<unk><unk>", "<s></s>", "<0x0A>", "<0x41><0xE7>", "<0x0a>", "<0x", "⁇", " ⁇ ", "\u2047",
    # Spaces, and the character that stands for them.
    "▁", "▁▁", "a▁b", "▁a", "a▁ b", " ▁ ", "▁ ", " " * 7, " " * 40, "a" + " " * 33 + "b", "\t" * 9, "\n" * 9, " \n \n", "a \tb", "\u2581\u2581\u2581\u2581",
    # Digits are cut one by one; full width and circled ones are not.
    "2024年10月", "3.14159265358979", "１２３", "①②③", "一二三", "1" * 30, "8K 4k 1080p", "50mm f/1.8",
    # Chinese, simplified and traditional, rare characters outside the vocabulary and outside the first plane.
    "一张瓢虫的照片，微距，变焦，高质量，电影，拿着一个牌子，写着“可图”", "一張瓢蟲的照片", "𠮷野家的牛丼", "龘靐齉爩", "㐂㐃㐄", "𪚥𪚥", "\u3007\u3005\u303b", "「引號」『書名』", "ｶﾀｶﾅ", "你好ｗｏｒｌｄ！？",
    # Emoji, joined, toned, halves of flags; marks and controls alone.
    "👨‍👩‍👧‍👦👩🏿‍🚀", "🏳️‍🌈🏴󠁧󠁢󠁥󠁮󠁧󠁿", "🇨", "🇨🇳🇯", "‍", "️", "👍🏽👍", "\u200d\u200d", "\ufe0f\u20e3", "\u0300", "\u0300\u0301\u0302", "a\u0300", "\u0e33", "\u093c",
    "\x00", "\x00\x00a", "\x1b[0m", "\x7f\x80\x9f", "\r\r\n", "\ufeff", "\ufeffa", "\ufffc\ufffd\ufffe\uffff", "\u202e", "\U0010ffff", "\U000e0041", "\ud7ff\ue000",
    # Long runs, and runs that merge in more than one way.
    "a" * 60, "a" * 997, "ab" * 301, "aba" * 101, "abab" + "b" * 61, "的" * 300, "哈" * 299 + "笑", "=" * 200, "-=" * 90, "▁a" * 80, "aaaa bbbb " * 40, "\n" * 300, "😀" * 70, "ha" * 150, "001100" * 40, "ＡＢ" * 60,
    "cat " * 253, "cat " * 254 + "dog", "猫" * 254, "猫" * 255, "word, " * 200,
]


def hard_texts(seed, per_pool):
    """Texts that CLIP's tokenizer and this one may read wrongly, prompts as people write them, and noise."""
    rng = random.Random(seed)
    texts = dict.fromkeys([*OWN, *SINGLE, *prompts(rng), *noise(rng, per_pool), *mixtures(rng, 20 * per_pool)])
    return [text for text in texts if not any(0xD800 <= ord(c) < 0xE000 for c in text)]


def mixtures(rng, count):
    """Pieces of the published vocabulary and of the texts above, cut and put together anew."""
    published = SentencePieceProcessor(model_file=str(PUBLISHED))
    size = published.get_piece_size()
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 8)):
            if rng.random() < 0.6:
                parts.append(published.id_to_piece(rng.randrange(3, size)))
            else:
                text = rng.choice(OWN)
                start = rng.randrange(max(len(text), 1))
                parts.append(text[start : start + rng.randint(1, 6)])
        text = "".join(parts)
        yield text.replace("▁", " ") if rng.random() < 0.7 else text


def learn(path, **options):
    sentences = [text for text in prompts(random.Random(4)) if len(text) < 400]
    model = io.BytesIO()
    SentencePieceTrainer.train(
        sentence_iterator=iter(sentences), model_writer=model, model_type="bpe", num_threads=1, minloglevel=2,
        normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True, **options,
    )
    path.write_bytes(model.getvalue())
    return path


def coarsen(path):
    """Gives runs of eight pieces one score, so that which of them comes first is up to where they stand."""
    data = path.read_bytes()
    out, at = bytearray(), 0
    while at < len(data) and data[at] == 0x0A:  # pieces, each of fewer than 128 bytes: text, score, kind
        end = at + 2 + data[at + 1]
        score = at + 4 + data[at + 3] + 1
        assert data[score - 1] == 0x15
        (value,) = struct.unpack("<f", data[score : score + 4])
        out += data[at:score] + struct.pack("<f", value // 8) + data[score + 4 : end]
        at = end
    path.write_bytes(out + data[at:])


def chatglm(model, config=None):
    """The tokenizer of a folder with these two files."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "tokenizer.model").write_bytes(model.read_bytes())
        if config is not None:
            (Path(folder) / "tokenizer_config.json").write_text(json.dumps(config))
        return ChatGLMTokenizer.from_pretrained(folder)


def ids_of(tokenizer, text):
    ids = tokenizer(text).input_ids
    assert ids[:2] == tokenizer.get_prefix_tokens()
    return ids[2:]


def row_of(tokenizer, text):
    row = tokenizer(text, padding="max_length", max_length=LENGTH, truncation=True)
    return {"ids": row.input_ids, "attentionMask": row.attention_mask, "positionIds": row.position_ids}


def write_rows(name, rows):
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    (FOLDER / name).write_text(f"[\n{lines}\n]\n")


def configs(base):
    """Settings as published: with the base model, with the chat model, and as transformers saves them."""
    flags = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": True, "special": False}
    named = {"eos_token": "</s>", "pad_token": "<unk>", "unk_token": "<unk>"}
    listed = {1: "[gMASK]", 3: "sop", 6: "<|user|>", 7: "<|assistant|>"}
    decoder = {str(base + place): {"content": token, **flags} for place, token in listed.items()}
    common = {"do_lower_case": False, "remove_space": False, "padding_side": "left", "tokenizer_class": "ChatGLMTokenizer"}
    return [None, common, {**common, "added_tokens_decoder": decoder, **named}, {**common, "added_tokens_decoder": {}, **named}]


def main():
    fresh(FOLDER)
    learned = learn(FOLDER / "learned.model", vocab_size=700, byte_fallback=True, character_coverage=0.98)
    symbols = learn(
        FOLDER / "symbols.model", vocab_size=500, character_coverage=0.98, add_dummy_prefix=False,
        user_defined_symbols=["<cat>", "<cat>s", "at s", "猫咪", "▁of▁"], control_symbols=["<ctl>", "</s2>"],
    )
    coarsen(symbols)

    texts = hard_texts(seed=30, per_pool=32)
    published = chatglm(PUBLISHED)
    write_rows("published.json", [[text, ids_of(published, text)] for text in texts])

    few = OWN + random.Random(5).sample(texts, 150)
    rng = random.Random(6)
    cases = []
    for config in configs(base=700):
        tokenizer = chatglm(learned, config)
        rows = []
        for text in few if config is None else [text for text in OWN if len(text) < 50]:
            ids = ids_of(tokenizer, text)
            rows.append([text, ids, row_of(tokenizer, text), tokenizer.tokenizer.decode(ids)])
        cases.append({"config": config, "rows": rows})
    write_rows("learned.json", cases)

    alone = SentencePieceProcessor(model_file=str(symbols))
    more = ["<cat>", "<cat>s", "two <cat>s of the cat slept", "at  s", "猫咪猫", "a▁of▁b of c", " of ", "<ctl>", "</s2>", "猫" * 5 + "a"]
    write_rows("symbols.json", [[text, ids := alone.encode(text), alone.decode(ids)] for text in more + few])

    processor = SentencePieceProcessor(model_file=str(learned))
    drawn = [[rng.randrange(rng.choice((259, 700))) for _ in range(rng.randint(1, 12))] for _ in range(300)]
    write_rows("decoded.json", [[ids, processor.decode(ids)] for ids in drawn])
    print(f"{len(texts)} texts")
    report(FOLDER)


if __name__ == "__main__":
    main()
