"""
CLIPTokenizer over the published 49,408-entry vocabulary: texts and their ids.

test/golden/clip-tokenizer.json   [[text, ids], ...], ids with start and end, cut to 77, without padding

The tokenizer of transformers 5 (NFC, spaces joined, lower case; the one called "fast" before). The "slow" tokenizer of
transformers 4 without ftfy parted CJK characters and dropped control characters; it is not what is written here.

Needs `../shared/data` beside the repository: tokenizers/clip/{vocab.json,merges.txt} and prompts/.
"""

import csv
import json
import random

from transformers import CLIPTokenizer

from common import GOLDEN

SHARED = GOLDEN.parent.parent.parent / "shared" / "data"

SINGLE = [
    # Nothing, and nearly nothing.
    "", " ", "   ", "\t", "\n", "\r\n", " \t\n ", "a", "A", "1", ".", "'", '"', "`", "\\", "/", "|",
    # Contractions, in both cases, straight and curly, doubled, at edges.
    "it's", "IT'S", "don't", "DON'T", "they're we've I'm you'll he'd", "THEY'RE WE'VE I'M YOU'LL HE'D", "it’s", "don’t",
    "'s", "'t 're 've 'm 'll 'd", "rock'n'roll", "o'clock", "'tis", "dogs' bowls", "ma'am", "y'all'd've", "s's's", "''s", "'s's",
    "'ss", "'twas the night", "can't've", "'", "''", "'''", "l'eau d'été", "'save", "'text", "'demo", "'mm", "'llama", "'rest",
    # Digits and numbers.
    "0123456789", "3.14159", "1,000,000", "10%", "$5.99", "16:9", "4k 8K uhd", "1/2", "½ ¼ ² ³ ①②③ Ⅳ ⅻ", "٠١٢٣٤", "०१२३", "〇一二三",
    "２０２４年", "iphone15pro", "2b or not 2b", "a1b2c3", "1st 2nd 3rd 4th", "1e-5", "0x1F", "1_000", "+1 (555) 010-9999",
    # Punctuation runs and markup.
    "!!!", "?!?!", "...", "…", "—", "–", "--", "---", "###", "a,b,,c,,,d", "(masterpiece:1.2), [blurry], {cute}", "<lora:ink:0.8>",
    "<|startoftext|>", "<|endoftext|>", "a <|endoftext|> b", "<|startoftext|>hi<|endoftext|>", "<|STARTOFTEXT|>", "<|EndOfText|>",
    "<|endoftext|", "|endoftext|>", "< |endoftext| >", "<|startoftext|><|startoftext|>", "x<|endoftext|>y", "<|pad|>", "<s></s>",
    "user@example.com", "https://example.com/a?b=c&d=e#f", "#hashtag @mention", "C++ C# F#", "snake_case camelCase kebab-case",
    "a.b.c", "a . b . c", "hello,world", "hello , world", "~!@#$%^&*()_+{}|:\"<>?`-=[]\\;',./", "^_^ :-) ;-) <3 ¯\\_(ツ)_/¯",
    "•◦▪", "→←↑↓⇒", "±×÷≠≤≥∞√∑∏∫", "© ® ™ ° § ¶ †", "«guillemets» „quotes“ ‚x‘", "¡hola! ¿qué?", "£€¥₹₿", "&amp; &lt;b&gt; &quot;",
    "&amp;amp;", "<b>bold</b><br/>", "a\\nb", "%20", "\\u0041",
    # Whitespace of every kind, in and around.
    "  lead", "trail  ", "a  b   c", "a\tb\nc\r\nd", "a\u00a0b", "a\u2003b\u2009c", "a\u3000b", "\u3000全角空格\u3000", "a\u2028b\u2029c",
    "a\u0085b", "a\u000bb\u000cc", "a\u1680b", "a\u202fb\u205fc", "\ufeffbom", "mid\ufeffbom", "a\u180eb", "a\u001cb\u001db\u001eb\u001fb",
    # Zero width and formatting characters.
    "a\u200bb", "a\u200cb\u200dc", "a\u2060b", "soft\u00adhyphen", "\u202eright to left\u202c", "a\u200e b\u200f", "\u2066iso\u2069",
    "\u200b", "\u200d", "\ufe0f", "❤", "❤️", "❤\ufe0e", "\u061c", "\u034f",
    # Control characters.
    "a\u0000b", "\u0001\u0002\u0003", "bell\u0007", "del\u007f", "esc\u001b[31mred", "\u0080\u0081\u009f", "\ufffd", "a\ufffdb",
    "\ufffe\uffff", "\ue000\uf8ff",
    # Accents, composed and decomposed; NFC joins some and leaves others.
    "café", "cafe\u0301", "CAFÉ", "CAFE\u0301", "naïve façade", "naı̈ve", "Ångström", "\u212bngstro\u0308m", "A\u030angstrom", "résumé", "über Straße",
    "ÜBER STRASSE", "ẞ ß", "Ⅷ", "ﬁne ﬂow oﬃce", "ĳ ŉ ǆ ǅ Ǆ", "İstanbul", "ıIiİ", "i\u0307", "I\u0307", "ΟΔΥΣΣΕΥΣ", "σς Σ", "Ὀδυσσεύς", "ᾼ ᾳ ΐ", "\u0390 \u1fd3",
    "Ἀ", "ŐŰőű", "Łódź", "Đặng Thị Huệ", "Đa\u0323\u0306ng", "Þór æ œ ø å", "Ωhm \u2126", "\u212a", "ſ", "ĸ", "ʼn", "Ǳ", "K\u0327", "q\u0307\u0323", "q\u0323\u0307",
    "e\u0301\u0301", "\u0301", " \u0301", "a\u0301\u0327\u0330", "Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠͍A̴̵̜̰͔ͫ͗͢L̠ͨͧͩ͘G̴̻͈͍͔̹̑͗̎̅͛́Ǫ̵̹̻̝̳", "한글", "\u1112\u1161\u11ab\u1100\u1173\u11af", "가각힣", "か\u3099 が", "\u0958 \u0915\u093c", "\u0344", "\u0374 \u037e", "\uf900 \u8c48",
    "\u2f800 \U0002f800", "\ufb1d \ufb2a",
    # Scripts.
    "привет мир", "ПРИВЕТ МИР", "Ёлка ё е\u0308", "Київ її", "ქართული Ⴀ", "ᲐᲑ", "հայերեն ԱԲ", "Ꭰꭰ", "Ⴀⴀ", "𐐀𐐨", "ｆｕｌｌ　ｗｉｄｔｈ", "ＦＵＬＬ，ＷＩＤＴＨ！", "ﾊﾝｶｸ", "ハンカク",
    "مرحبا بالعالم", "السَّلامُ عَلَيْكُمْ", "שלום עולם", "שָׁלוֹם", "हिन्दी में", "বাংলা", "தமிழ்", "ไทย ภาษา", "ພາສາລາວ", "မြန်မာ", "ខ្មែរ", "བོད་ཡིག", "አማርኛ", "ᠮᠣᠩᠭᠣᠯ",
    "日本語のテキスト", "こんにちは、世界。", "カタカナ・ひらがな", "中文测试", "繁體中文測試", "一只猫坐在窗台上，阳光明媚。", "“引号”、《书名》；：？！", "猫cat狗dog", "中 文", "2只猫", "第1章", "ABC中文123", "囍", "𠮷野家", "㍿ ㌔ ㎏", "﹏﹏", "〜～", "ー一—", "・·•", "々〆",
    "한국어 텍스트", "안녕하세요, 세계!", "cafe 카페 咖啡 кафе καφές", "Việt Nam", "Türkçe Iıİi", "Čeština žluťoučký kůň", "𝓕𝓪𝓷𝓬𝔂 𝔣𝔯𝔞𝔨𝔱𝔲𝔯 𝕕𝕠𝕦𝕓𝕝𝕖", "ⓐⓑⒸ", "🄰🅱🅾", "ᵃᵇᶜ ₁₂ ˣ", "ʇxǝʇ uʍop ǝpᴉsdn",
    # Emoji: plain, joined, toned, flags, keycaps, tags.
    "😀", "😀😃😄", "a😀b", "👍🏽", "👨‍👩‍👧‍👦", "🏳️‍🌈", "🇯🇵🇺🇸", "🇯", "1️⃣", "#️⃣", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "👩🏿‍🚀 in space", "🤷🏻‍♀️", "☺️ ☹", "🫠🫥", "©️", "🀄🃏", "🧑‍💻🐍", "cat 🐈 dog 🐕", "🔥🔥🔥 sale!!! 🔥", "🥹", "🪿",
    # The edges of the planes (what a surrogate pair must carry).
    "\ud7ff \ue000", "\U00010000", "\U0001ffff", "\U0010ffff", "\U000e0001", "\U000f0000", "a\U0001f600\u0301", "\U0001d400\U0001d7ff", "\U00020000\U0002a6df", "\U00010400", "\U00016e40", "\U0001e900",
    # Long words and long texts; the cut falls inside a word.
    "a" * 50, "a" * 500, "ab" * 200, "supercalifragilisticexpialidocious", "pneumonoultramicroscopicsilicovolcanoconiosis",
    "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft", "z" * 77, "!" * 300, "猫" * 90, "😀" * 60, "1" * 120, "a " * 100, "é" * 80,
    "cat " * 74 + "dog", "cat " * 75 + "dog", "cat " * 76 + "dog", "cat " * 74 + "supercalifragilistic", "'s" * 80, "x" + "-" * 200 + "y", "\u0301" * 90, "ha" * 80 + " " + "ho" * 80,
    "llanfairpwllgwyngyllgogerychwyrndrobwllllantysiliogogogoch", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA!!!!", "aAaAaA" * 30,
    # Prompts as people write them.
    "a photo of an astronaut riding a horse on mars", "A Photo Of An Astronaut Riding A Horse On Mars", "masterpiece, best quality, 1girl, solo, (smile:1.3), <lora:style:0.7>, by greg rutkowski, trending on artstation",
    "lowres, bad anatomy, bad hands, text, error, missing fingers, extra digit, fewer digits, cropped, worst quality", "f/1.8, 85mm, ISO-100, 1/200s", "--ar 16:9 --v 5.2 --no text", "“a quoted prompt” — with a dash…",
    "oil painting in the style of J.M.W. Turner (1775–1851)", "Frida Kahlo’s garden", "photo of sks dog", "<cat-toy> on a beach", "*new* concept_1", "the word \"LIMN\" in neon", "isometric 3d render, octane, 8k --seed 0",
]

POOLS = [
    [chr(c) for c in range(0x20, 0x7F)],
    [chr(c) for c in range(0x00, 0x180)],
    list("abcdefghijklmnopqrstuvwxyz") + [" "] * 6,
    list("aeiouAEIOUcCnN") + [chr(c) for c in range(0x300, 0x330)],
    [chr(c) for c in range(0x370, 0x530)] + [" "] * 20,
    [chr(c) for c in range(0x4E00, 0x5200)] + list("，。！？、"),
    [chr(c) for c in range(0x2000, 0x2100)] + list("abc"),
    [chr(c) for c in range(0x1F300, 0x1F6FF)] + ["\u200d", "\ufe0f", " "],
    [chr(c) for c in range(0x0590, 0x0700)] + [" "] * 10,
    [chr(c) for c in range(0x3040, 0x3100)] + [chr(c) for c in range(0xFF00, 0xFFF0)],
    [chr(c) for c in range(0x1100, 0x1200)] + [chr(c) for c in range(0xAC00, 0xAC40)],
    [chr(c) for c in range(0x0900, 0x0E80)] + [" "] * 40,
    [chr(c) for c in range(0x1E00, 0x2000)],
    [chr(c) for c in range(0x0000, 0xD800)] + [chr(c) for c in range(0xE000, 0x11000)],
    [chr(c) for c in range(0x10000, 0x20000, 7)],
    list("'sStTrReEvVmMlLdD ") ,
    list("0123456789.,:%$-/ "),
    list("<|startofend ext|>") ,
    [" ", "\t", "\n", "\r", "\u00a0", "\u3000", "\u200b", "a", "b", "1", "."],
]


def prompts(rng):
    """A sample of what people ask for, short and long, English and Chinese."""
    folder = SHARED / "prompts"
    with open(folder / "PartiPrompts.tsv", encoding="utf8") as f:
        parti = [row[0] for row in csv.reader(f, delimiter="\t", quoting=csv.QUOTE_NONE)][1:]
    with open(folder / "flageval_imageEval_en.csv", encoding="utf8", errors="ignore") as f:
        english = [row[0] for row in csv.reader(f)][1:]
    with open(folder / "flageval_imageEval_cn.csv", encoding="gb18030") as f:
        chinese = [row[0] for row in csv.reader(f)][1:]
    long = list(json.loads((folder / "dpg_bench_prompts.json").read_text("utf8")).values())
    kolors = (folder / "kolors_prompt_vis_zh.txt").read_text("utf8").splitlines()
    geneval = [json.loads(line)["prompt"] for line in (folder / "geneval_metadata.jsonl").read_text("utf8").splitlines()]
    for texts, count in ((parti, 200), (english, 120), (chinese, 120), (long, 40), (kolors, 20), (geneval, 60)):
        yield from rng.sample(texts, min(count, len(texts)))


def noise(rng, per_pool):
    """Strings from narrow alphabets, where rules meet each other more often than in prose."""
    for pool in POOLS:
        for _ in range(per_pool):
            yield "".join(rng.choice(pool) for _ in range(rng.randint(1, 24)))


def main():
    rng = random.Random(20)
    texts = list(dict.fromkeys([*SINGLE, *prompts(rng), *noise(rng, 32)]))
    texts = [text for text in texts if not any(0xD800 <= ord(c) < 0xE000 for c in text)]
    folder = SHARED / "tokenizers" / "clip"
    tokenizer = CLIPTokenizer.from_pretrained(folder, model_max_length=77)
    rows = [[text, tokenizer(text, truncation=True, max_length=77).input_ids] for text in texts]
    assert all(ids[0] == 49406 and ids[-1] == 49407 and len(ids) <= 77 for _, ids in rows)
    lines = ",\n".join(json.dumps(row, separators=(",", ":")) for row in rows)
    path = GOLDEN / "clip-tokenizer.json"
    path.write_text(f"[\n{lines}\n]\n")
    print(f"{len(rows)} texts, {path.stat().st_size / 1024:.0f} KiB")


if __name__ == "__main__":
    main()
