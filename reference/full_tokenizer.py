"""
Very many texts and their ids, for `npm run test:full`: ChatGLMTokenizer over the published tokenizer.model, and
SentencePieceProcessor over the small symbols.model.

    python reference/full_tokenizer.py <folder> [texts]        120,000 texts unless told; set LIMN_FULL_DIR=<folder>

<folder>/chatglm-texts.jsonl   [text, ids by the published model, ids by symbols.model], one a line

Needs what chatglm_tokenizer.py needs, and its goldens.
"""

import json
import random
import sys
from itertools import count
from pathlib import Path

from sentencepiece import SentencePieceProcessor

from chatglm_tokenizer import FOLDER, PUBLISHED, chatglm, hard_texts, ids_of


def drawn(total):
    """Hard texts of one seed after the other, and now and then two or three of them in one."""
    seen = {}
    for seed in count(1000):
        rng = random.Random(seed)
        texts = hard_texts(seed, per_pool=150)
        seen.update(dict.fromkeys(texts))
        seen.update(dict.fromkeys(rng.choice(["", " ", "\n", "，"]).join(rng.sample(texts, rng.randint(2, 3))) for _ in range(1500)))
        if len(seen) >= total:
            return list(seen)[:total]


def main(folder, total=120_000):
    folder.mkdir(parents=True, exist_ok=True)
    published = chatglm(PUBLISHED)
    symbols = SentencePieceProcessor(model_file=str(FOLDER / "symbols.model"))
    texts = drawn(total)
    with open(folder / "chatglm-texts.jsonl", "w", encoding="utf8") as file:
        for text in texts:
            file.write(json.dumps([text, ids_of(published, text), symbols.encode(text)], separators=(",", ":")) + "\n")
    print(f"{len(texts)} texts")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
