"""
IP-Adapters that read faces: what Kolors' FaceID Plus and h94's make of the tiny models, by pipelines of diffusers.

test/golden/face-id/
  ipa-faceid-plus.bin    as published for Kolors, with the CLIP of `ip-adapter/kolors`
  ip-adapter-faceid.bin, ip-adapter-faceid-plus.safetensors    for `pipeline/model`, with LoRAs for both kinds of attention; the
                         second with the CLIP of `ip-adapter`. "plusv2" is the second too, by the rule of that version
  recogniser.onnx        to 16 numbers; the detector is that of `faces`
  pictures.safetensors   <n>.picture uint8 [H, W, 3]
  tokens.safetensors     <adapter>.<n>.<face>: tokens [1, T, D] as they reach the attentions' keys, <adapter>.none
  cases.json             [{ name, model, adapter, file, scale, pictures: [[n, face]], prompt, negativePrompt, height, width, steps, ... }]
  case-<name>.safetensors    latents after the last step, images uint8 [N, H, W, 3]

Kolors' pipeline is that of its repository, spelled out over diffusers' KolorsPipeline: tokens behind those of the text, taken off
again by each attention to the text. Faces are found by insightface's classes; h94's ways are those of its IPAdapterFaceID.
"""

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import KolorsPipeline, StableDiffusionPipeline, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor2_0
from insightface.utils import face_align
from PIL import Image
from transformers import CLIPVisionModelWithProjection
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

import cv2
import faces
from common import GOLDEN, described, fresh, generator, report, stacked, write_json, write_tensors
from ip_adapter import ENCODER, KOLORS, SIZE, attentions, linear, norm, plus, save_flat
from pipeline import NEGATIVE, PROMPT, WIDTH
from lora import EULER
from pipeline_kolors import EULER as KOLORS_EULER
from pipeline_kolors import NEGATIVE as KOLORS_NEGATIVE
from pipeline_kolors import PROMPT as KOLORS_PROMPT
from pipeline_kolors import WIDTH as KOLORS_WIDTH

FOLDER = GOLDEN / "face-id"
EMBEDDING = 16
RANK = 2
SEEDS = (51, 52)
PHOTOS = [(64, 80), (80, 56)]
# Adapter: its file.
FILES = {"kolors": "ipa-faceid-plus.bin", "faceid": "ip-adapter-faceid.bin", "plus": "ip-adapter-faceid-plus.safetensors",
         "plusv2": "ip-adapter-faceid-plus.safetensors"}

# name: (adapter, scale, [[picture, face]], arguments)
CASES = {
    "kolors": ("kolors", 0.8, [[0, 0]], dict(height=56, width=64)),
    "kolors-two": ("kolors", 0.5, [[1, 0]], dict(height=48, width=56, images=2, guidance=3.0)),
    "kolors-unguided": ("kolors", 1.0, [[0, 1]], dict(height=48, width=64, guidance=1.0)),
    "faceid": ("faceid", 0.7, [[0, 0]], dict(height=48, width=64)),
    "faceid-faces": ("faceid", 1.0, [[0, 0], [1, 1]], dict(height=48, width=56)),
    "plus": ("plus", 0.9, [[1, 0]], dict(height=64, width=56)),
    "plusv2": ("plusv2", 0.6, [[0, 2]], dict(height=40, width=64, images=2)),
}


def projection(width, tokens, features, g):
    """ProjPlusModel; without features MLPProjModel."""
    state = linear("proj.0", EMBEDDING, 2 * EMBEDDING, g) | linear("proj.2", 2 * EMBEDDING, tokens * width, g) | norm("norm", width, g)
    if features is not None:
        below = plus(width, features, g, hidden=width, heads=1)
        state |= {f"perceiver_resampler.{name}": t for name, t in below.items() if name != "latents"}
    return state


def keys(unet, g, loras):
    width, state = unet.config.cross_attention_dim, {}
    for number, inner in attentions(unet):
        state |= linear(f"{number}.to_k_ip", width, inner, g, bias=False) | linear(f"{number}.to_v_ip", width, inner, g, bias=False)
        for n, seen in ((number - 1, inner), (number, width)) if loras else ():
            for name, before in (("q", inner), ("k", seen), ("v", seen), ("out", inner)):
                state |= linear(f"{n}.to_{name}_lora.down", before, RANK, g, bias=False) | linear(f"{n}.to_{name}_lora.up", RANK, inner, g, bias=False)
    return state


def halved(state):
    return {name: t.half().float() for name, t in state.items()}


class Attention(torch.nn.Module):
    """What the last tokens are to queries beside the text's, as Kolors' IPAttnProcessor2_0 has it."""

    def __init__(self, state, number, tokens, scale):
        super().__init__()
        self.key, self.value = state[f"{number}.to_k_ip.weight"], state[f"{number}.to_v_ip.weight"]
        self.tokens, self.scale = tokens, scale

    def __call__(self, attn, hidden_states, encoder_hidden_states, **_):
        text, face = encoder_hidden_states.tensor_split([-self.tokens], dim=1)
        split = lambda x: x.unflatten(2, (attn.heads, -1)).transpose(1, 2)
        query = split(attn.to_q(hidden_states))
        found = F.scaled_dot_product_attention(query, split(attn.to_k(text)), split(attn.to_v(text)))
        found = found + self.scale * F.scaled_dot_product_attention(query, split(F.linear(face, self.key)), split(F.linear(face, self.value)))
        return attn.to_out[0](found.transpose(1, 2).flatten(2))


def tokens_of(state, embedding, features, tokens, shortcut):
    """ProjPlusModel.forward, or MLPProjModel's where there are no features."""
    layer = lambda name, x: F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))
    width = state["norm.weight"].shape[0]
    normed = lambda name, x: F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])
    x = normed("norm", layer("proj.2", F.gelu(layer("proj.0", embedding))).reshape(-1, tokens, width))
    if features is None:
        return x
    at = "perceiver_resampler"
    patches, z = layer(f"{at}.proj_in", features), x
    for n in range(4):
        attention, forward = f"{at}.layers.{n}.0", f"{at}.layers.{n}.1"
        own = normed(f"{attention}.norm2", z)
        key, value = layer(f"{attention}.to_kv", torch.cat([normed(f"{attention}.norm1", patches), own], 1)).chunk(2, -1)
        split = lambda t: t.unflatten(2, (-1, 64)).transpose(1, 2)
        read = F.scaled_dot_product_attention(split(layer(f"{attention}.to_q", own)), split(key), split(value))
        z = z + layer(f"{attention}.to_out", read.transpose(1, 2).flatten(2))
        z = z + layer(f"{forward}.3", F.gelu(layer(f"{forward}.1", normed(f"{forward}.0", z))))
    out = normed(f"{at}.norm_out", layer(f"{at}.proj_out", z))
    return x + out if shortcut else out


class Faces:
    """Each face of a picture, the largest first: its embedding, and its cuts."""

    def __init__(self, picture):
        finds, recognises = faces.open_models("models/detector.onnx", "../face-id/recogniser.onnx")
        self.picture = picture
        self.bgr = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR)
        self.det, self.kps, self.embeddings = faces.found(finds, recognises, picture, 3)
        print(len(self.det), "faces", [f"{b[2] - b[0]:.0f}x{b[3] - b[1]:.0f}" for b in self.det[:3]])

    def embedding(self, i, normed):
        one = self.embeddings[i]
        return torch.from_numpy(one / np.linalg.norm(one) if normed else one)[None]

    def square(self, i):
        cut = Image.fromarray(self.picture).crop(faces.square(self.det[i, :4]))
        across = cut.resize((SIZE, cut.height)).resize((SIZE, SIZE))
        assert (np.asarray(across) == np.asarray(cut.resize((SIZE, SIZE)))).all()
        return across

    def upright(self, i):
        return Image.fromarray(face_align.norm_crop(self.picture, self.kps[i], image_size=224))


def see(encoder, picture):
    pixels = torch.as_tensor(CLIPImageProcessorPil(size=SIZE, crop_size=SIZE)(picture, return_tensors="pt").pixel_values)
    return encoder(pixels, output_hidden_states=True).hidden_states[-2]


class Adapter:
    """How one adapter makes tokens of faces, and of none."""

    def __init__(self, state, tokens, encoder, kolors=False, shortcut=False, project=lambda x: x):
        self.state, self.tokens, self.encoder, self.kolors, self.shortcut, self.project = state, tokens, encoder, kolors, shortcut, project

    def features(self, face, i):
        if self.encoder is None:
            return None
        return see(self.encoder, face.square(i) if self.kolors else face.upright(i))

    def no_features(self):
        if self.encoder is None:
            return None
        states = self.encoder(torch.zeros(1, 3, SIZE, SIZE), output_hidden_states=True).hidden_states[-2]
        return torch.zeros_like(states) if self.kolors else states

    def of(self, face, i):
        return tokens_of(self.state["image_proj"], face.embedding(i, not self.kolors), self.features(face, i), self.tokens, self.shortcut)

    def none(self):
        return tokens_of(self.state["image_proj"], torch.zeros(1, EMBEDDING), self.no_features(), self.tokens, self.shortcut)


def draw_kolors(adapter, all_faces, scale, pictures, *, height, width, guidance=5.0, steps=3, images=1, seed):
    pipe = KolorsPipeline.from_pretrained(GOLDEN / "pipeline-kolors" / "model", variant="fp16", torch_dtype=torch.float32)
    pipe.scheduler = KOLORS_EULER
    pipe.set_progress_bar_config(disable=True)
    [[n, i]] = pictures
    text, no_text, pooled, no_pooled = pipe.encode_prompt(KOLORS_PROMPT, "cpu", num_images_per_prompt=1, negative_prompt=KOLORS_NEGATIVE)
    face, no_face = adapter.of(all_faces[n], i), adapter.none()
    processors = {name: AttnProcessor2_0() for name in pipe.unet.attn_processors}
    for number, name in enumerate(processors):
        if "attn2" in name:
            processors[name] = Attention(adapter.state["adapter_modules"], number, adapter.tokens, scale)
    pipe.unet.set_attn_processor(processors)
    given = dict(prompt_embeds=torch.cat([text, face], 1), negative_prompt_embeds=torch.cat([no_text, no_face], 1),
                 pooled_prompt_embeds=pooled, negative_pooled_prompt_embeds=no_pooled)
    return walk(pipe, {name: t.repeat_interleave(images, 0) for name, t in given.items()}, height, width, guidance, steps, 1, seed)


def draw_h94(adapter, path, all_faces, scale, pictures, *, height, width, guidance=5.0, steps=3, images=1, seed):
    pipe = StableDiffusionPipeline.from_pretrained(GOLDEN / "pipeline" / "model")
    pipe.scheduler = EULER
    pipe.set_progress_bar_config(disable=True)
    pipe.load_ip_adapter(str(FOLDER), subfolder=None, weight_name=FILES[path], image_encoder_folder=None)
    pipe.set_ip_adapter_scale(scale)
    embeddings = torch.stack([all_faces[n].embedding(i, True) for n, i in pictures], 1)
    [layer] = pipe.unet.encoder_hid_proj.image_projection_layers
    if adapter.encoder is not None:
        layer.shortcut = adapter.shortcut
        [[n, i]] = pictures
        layer.clip_embeds = torch.stack([adapter.no_features(), adapter.features(all_faces[n], i)]).repeat_interleave(images, 0)
    return walk(pipe, dict(prompt=PROMPT, negative_prompt=NEGATIVE, ip_adapter_image_embeds=[torch.cat([torch.zeros_like(embeddings), embeddings])]),
                height, width, guidance, steps, images, seed)


def walk(pipe, given, height, width, guidance, steps, images, seed):
    kept = {}

    def keep(_, __, ___, state):
        kept["latents"] = state["latents"]
        return state

    made = pipe(**given, height=height, width=width, num_inference_steps=steps, guidance_scale=guidance, num_images_per_prompt=images,
                generator=generator(seed), callback_on_step_end=keep).images
    return kept["latents"], stacked(made)


def save_adapters():
    """Every adapter by its name; the numbers of all are such as half precision has."""
    unet = UNet2DConditionModel.from_pretrained(GOLDEN / "pipeline" / "model" / "unet")
    kolors = UNet2DConditionModel.from_pretrained(GOLDEN / "pipeline-kolors" / "model" / "unet", variant="fp16", torch_dtype=torch.float32)
    encoder, clip = (CLIPVisionModelWithProjection.from_pretrained(GOLDEN / "ip-adapter" / folder).eval() for folder in ("image_encoder", "kolors/image_encoder"))
    half = lambda state: {part: {name: t.half() for name, t in tensors.items()} for part, tensors in state.items()}
    whole = lambda state: {part: {name: t.half().float() for name, t in tensors.items()} for part, tensors in state.items()}
    g = generator(900)
    state = {"image_proj": projection(KOLORS_WIDTH, 6, KOLORS["hidden_size"], g), "adapter_modules": keys(kolors, g, loras=False)}
    torch.save(half(state), FOLDER / FILES["kolors"])
    adapters = {"kolors": Adapter(whole(state), 6, clip, kolors=True, shortcut=True, project=kolors.encoder_hid_proj)}
    for name, features, seed in (("faceid", None, 901), ("plus", ENCODER["hidden_size"], 902)):
        g = generator(seed)
        state = {"image_proj": projection(WIDTH, 4, features, g), "ip_adapter": keys(unet, g, loras=True)}
        torch.save(half(state), FOLDER / FILES[name]) if name == "faceid" else save_flat(half(state), FOLDER / FILES[name])
        adapters[name] = Adapter(whole(state), 4, features and encoder)
    adapters["plusv2"] = Adapter(whole(state), 4, encoder, shortcut=True)
    return adapters


def save_tokens(adapters, all_faces):
    tensors = {}
    for path, adapter in adapters.items():
        tensors[f"{path}.none"] = adapter.project(adapter.none())
        for n, i in ((0, 0), (0, 1), (1, 1)):
            tensors[f"{path}.{n}.{i}"] = adapter.project(adapter.of(all_faces[n], i))
    write_tensors(FOLDER / "tokens.safetensors", tensors)


def make(name, adapters, all_faces, path, scale, pictures, arguments):
    adapter, tensors = adapters[path], {}
    for seed in SEEDS:
        made = (draw_kolors(adapter, all_faces, scale, pictures, seed=seed, **arguments) if adapter.kolors
                else draw_h94(adapter, path, all_faces, scale, pictures, seed=seed, **arguments))
        tensors[f"latents.{seed}"], tensors[f"images.{seed}"] = made
    write_tensors(FOLDER / f"case-{name}.safetensors", tensors)
    print(name, f"std {tensors[f'images.{SEEDS[0]}'].float().std():.0f}")
    prompt, negative, scheduler = (KOLORS_PROMPT, KOLORS_NEGATIVE, KOLORS_EULER) if adapter.kolors else (PROMPT, NEGATIVE, EULER)
    settings = dict(guidance=5.0, steps=3, images=1) | arguments
    return {"name": name, "model": "pipeline-kolors" if adapter.kolors else "pipeline", "adapter": path, "file": FILES[path], "scale": scale,
            "pictures": pictures, "prompt": prompt, "negativePrompt": negative, "height": settings["height"], "width": settings["width"],
            "steps": settings["steps"], "guidanceScale": settings["guidance"], "imagesPerPrompt": settings["images"],
            "scheduler": described(scheduler)}


@torch.no_grad()
def main():
    fresh(FOLDER)
    faces.save_recogniser(FOLDER / "recogniser.onnx", values=EMBEDDING)
    random = np.random.default_rng(21)
    pictures = [faces.photo(height, width, random) for height, width in PHOTOS]
    write_tensors(FOLDER / "pictures.safetensors", {f"{n}.picture": torch.from_numpy(one) for n, one in enumerate(pictures)})
    all_faces = [Faces(one) for one in pictures]
    adapters = save_adapters()
    save_tokens(adapters, all_faces)
    write_json(FOLDER / "cases.json", [make(name, adapters, all_faces, *case) for name, case in CASES.items()])
    report(FOLDER)


if __name__ == "__main__":
    main()
