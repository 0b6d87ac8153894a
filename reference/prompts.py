"""
Prompts longer than a row, weighted prompts and textual inversion, over the models of `pipeline/` and `pipeline-xl/`.

test/golden/prompts/
  cases.json            [{ name, model, prompt }]: prompts in the syntax of web tools
  states.safetensors    <name>: their states [1, N * 77, D], and of pipeline-xl <name>.pooled [1, P]
  <word>.*              files of textual inversion in every form, of random numbers
  learnt.json           what the picture was drawn with
  learnt.safetensors    prompt_embeds [1, 77, D] and images uint8 [1, H, W, 3] of diffusers with `cat-toy.bin` and
                        `ink-style.pt`; xl_embeds [1, 77, D] and xl_pooled [1, P] with `xl-word.safetensors`

Words are in lower case: of others diffusers finds only the first vector in a prompt.

Web tools are no library, so what they do is spelled out here: the parts of a prompt are written down by hand, and chunks
and emphasis are those of AUTOMATIC1111's web UI ("original" emphasis, commas looked for in the last 20 tokens).
"""

import json

import torch
from diffusers import DDIMScheduler, StableDiffusionPipeline, StableDiffusionXLPipeline
from safetensors.torch import load_file

from common import GOLDEN, fresh, generator, report, stacked, write_json, write_tensors
from pipeline import SD1, WIDTH
from pipeline_xl import WIDTHS

FOLDER = GOLDEN / "prompts"
ROW = 75
NEAR = 20
BREAK = None

LONG = "at sea, " + "one red boat, two blue boats, " * 9

# name: (the prompt, its parts)
CASES = {
    "weights": ("a (house:1.3) [night] of ((snow))", [("a ", 1), ("house", 1.3), (" ", 1), ("night", 1 / 1.1), (" of ", 1), ("snow", 1.1 * 1.1)]),
    "long": (LONG, [(LONG, 1)]),
    "long-without-commas": ("boat " * 100, [("boat " * 100, 1)]),
    "long-weights": (f"({LONG}:0.8) at [dawn]", [(LONG, 0.8), (" at ", 1), ("dawn", 1 / 1.1)]),
    "sections": ("a boat BREAK a (red:1.5) sail", [("a boat", 1), BREAK, ("a ", 1), ("red", 1.5), (" sail", 1)]),
    "negative-weight": ("a boat (fog:-0.5)", [("a boat ", 1), ("fog", -0.5)]),
}


def chunks(tokenizer, parts):
    """Rows of ids and weights."""
    comma = tokenizer(",", add_special_tokens=False).input_ids[0]
    rows, row = [], []
    for part in parts:
        if part is BREAK:
            rows.append(row)
            row = []
            continue
        text, weight = part
        for token in tokenizer(text, add_special_tokens=False).input_ids:
            if len(row) == ROW:
                commas = [i for i, (id, _) in enumerate(row) if id == comma and ROW - i <= NEAR]
                cut = commas[-1] + 1 if commas and token != comma else ROW
                rows.append(row[:cut])
                row = row[cut:]
            row.append((token, weight))
    rows.append(row)
    for row in rows:
        padding = ROW - len(row)
        ids = [tokenizer.bos_token_id, *(id for id, _ in row), tokenizer.eos_token_id, *[tokenizer.pad_token_id] * padding]
        yield torch.tensor([ids]), torch.tensor([1.0, *(float(weight) for _, weight in row), *[1.0] * (padding + 1)])


def emphasised(z, weights):
    mean = z.mean()
    z = z * weights[None, :, None]
    return z * (mean / z.mean())


def encode(tokenizer, encoder, parts, penultimate):
    states, pooled = [], None
    for ids, weights in chunks(tokenizer, parts):
        out = encoder(ids, output_hidden_states=True)
        states.append(emphasised(out.hidden_states[-2] if penultimate else out.last_hidden_state, weights))
        if pooled is None:
            pooled = getattr(out, "text_embeds", None)
    return torch.cat(states, dim=1), pooled


def make_states(pipe, xl):
    index, tensors = [], {}
    for name, (prompt, parts) in CASES.items():
        case = {"name": name, "model": "pipeline", "prompt": prompt}
        index.append(case)
        tensors[name], _ = encode(pipe.tokenizer, pipe.text_encoder, parts, penultimate=False)
        index.append({**case, "name": f"xl-{name}", "model": "pipeline-xl"})
        first, _ = encode(xl.tokenizer, xl.text_encoder, parts, penultimate=True)
        second, tensors[f"xl-{name}.pooled"] = encode(xl.tokenizer_2, xl.text_encoder_2, parts, penultimate=True)
        tensors[f"xl-{name}"] = torch.cat([first, second], dim=-1)
        print(name, tuple(tensors[name].shape), f"mean {tensors[name].mean():.4f}")
    write_json(FOLDER / "cases.json", index)
    write_tensors(FOLDER / "states.safetensors", tensors)


def save_words():
    g = generator(71)
    vectors = lambda *shape: torch.randn(shape, generator=g)
    torch.save({"<cat-toy>": vectors(3, WIDTH)}, FOLDER / "cat-toy.bin")
    write_tensors(FOLDER / "cat-toy.safetensors", {"<cat-toy>": vectors(WIDTH)})
    torch.save({"string_to_token": {"*": 265}, "string_to_param": {"*": vectors(2, WIDTH)}, "name": "ink-style", "step": 499,
                "sd_checkpoint": "7460a6fa", "sd_checkpoint_name": "model"}, FOLDER / "ink-style.pt")
    old = torch.nn.ParameterDict({"*": torch.nn.Parameter(vectors(2, WIDTH))})
    torch.save({"string_to_token": {"*": torch.tensor(265)}, "string_to_param": old}, FOLDER / "parameter-dict.pt")
    write_tensors(FOLDER / "emb-params.safetensors", {"emb_params": vectors(2, WIDTH).half()})
    write_tensors(FOLDER / "xl-word.safetensors", {"clip_l": vectors(2, WIDTHS[0]), "clip_g": vectors(2, WIDTHS[1])})


def make_learnt(pipe, xl):
    for name in ("cat-toy.bin", "ink-style.pt"):
        pipe.load_textual_inversion(str(FOLDER / name))
    pipe.scheduler = DDIMScheduler(**SD1, clip_sample=False)
    settings = {"prompt": "a photo of <cat-toy> on Mars, ink-style", "negativePrompt": "ink-style, blurry", "seed": 29, "height": 64, "width": 64,
                "steps": 3, "guidanceScale": 7.5}
    embeds, _ = pipe.encode_prompt(settings["prompt"], "cpu", 1, False)
    pictures = pipe(settings["prompt"], negative_prompt=settings["negativePrompt"], height=64, width=64, num_inference_steps=3,
                    guidance_scale=7.5, generator=generator(29)).images
    words = load_file(FOLDER / "xl-word.safetensors")
    xl.load_textual_inversion(words["clip_l"], token="xl-word", text_encoder=xl.text_encoder, tokenizer=xl.tokenizer)
    xl.load_textual_inversion(words["clip_g"], token="xl-word", text_encoder=xl.text_encoder_2, tokenizer=xl.tokenizer_2)
    # By itself transformers takes the word of the largest id for the end, which is then the learnt one.
    xl.text_encoder_2.text_model.eos_token_id = xl.tokenizer_2.eos_token_id
    xl_embeds, _, xl_pooled, _ = xl.encode_prompt("a boat, xl-word, at dawn", device="cpu", do_classifier_free_guidance=False)
    config = {key: value for key, value in pipe.scheduler.config.items() if not key.startswith("_")}
    write_json(FOLDER / "learnt.json", {**settings, "scheduler": {"_class_name": "DDIMScheduler", **config}})
    write_tensors(FOLDER / "learnt.safetensors", {"prompt_embeds": embeds, "xl_embeds": xl_embeds, "xl_pooled": xl_pooled,
                  "images": stacked(pictures)})


@torch.no_grad()
def main():
    fresh(FOLDER)
    pipe = StableDiffusionPipeline.from_pretrained(GOLDEN / "pipeline" / "model")
    pipe.set_progress_bar_config(disable=True)
    xl = StableDiffusionXLPipeline.from_pretrained(GOLDEN / "pipeline-xl" / "model", add_watermarker=False)
    make_states(pipe, xl)
    save_words()
    make_learnt(pipe, xl)
    report(FOLDER)


if __name__ == "__main__":
    main()
