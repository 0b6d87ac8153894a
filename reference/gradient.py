"""
Whole-model gradients, computed in float64 from the goldens' float32 weights, written as float32. Run after those.

test/golden/gradient/
  unet.safetensors        model unet/four-levels        loss = mean((unet(sample, timestep, encoder_hidden_states) - target)^2)
  clip-text.safetensors   model clip-text/end-within    loss = mean((last_hidden_state(input_ids) - target)^2)
  vae.safetensors         model vae/two-levels          loss = mean((decode(mean + exp(logvar / 2) * noise) - target)^2),
                                                        mean and logvar from encode(image)

Each holds the inputs by those names, `loss` [1], and `d.<name>` for every weight and every float input but
timestep, noise and target. A key projection's bias adds the same to every logit of a row: its gradient is zero in
exact arithmetic.
"""

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModel

import clip_text
import unet
from common import GOLDEN, fresh, generator, report, write_tensors


def gradients(model, inputs, learned, loss, weight_name=lambda name: name):
    """The tensors of one file: `inputs`, the loss of `loss(inputs)`, and its gradients by weights and by `learned` inputs."""
    model.double()
    doubles = {name: value.double() if value.is_floating_point() else value for name, value in inputs.items()}
    for name in learned:
        doubles[name].requires_grad_()
    value = loss(doubles)
    value.backward()
    found = {weight_name(name): parameter.grad for name, parameter in model.named_parameters()}
    found |= {name: doubles[name].grad for name in learned}
    print(f"loss {value.item():.4f}, {len(found)} gradients, largest {max(g.abs().max().item() for g in found.values()):.3g},",
          "unreached:", [name for name, g in found.items() if g is None or not g.any()])
    return inputs | {"loss": value.detach().float().reshape(1)} | {f"d.{name}": g.float() for name, g in found.items()}


def unet_gradients():
    model = UNet2DConditionModel.from_pretrained(GOLDEN / "unet" / "four-levels")
    g = generator(10)
    inputs = unet.inputs(model, (2, 11, 16, 3, [642.5, 12]), g)
    inputs["target"] = torch.randn(2, 4, 11, 16, generator=g)
    return gradients(model, inputs, ("sample", "encoder_hidden_states"),
                     lambda t: (unet.run(model, t) - t["target"]).square().mean())


def clip_text_gradients():
    name = "end-within"
    model = CLIPTextModel.from_pretrained(GOLDEN / "clip-text" / name)
    words = clip_text.ids(name)
    inputs = {"input_ids": words, "target": torch.randn(*words.shape, model.config.hidden_size, generator=generator(11))}
    return gradients(model, inputs, (), lambda t: (model(t["input_ids"]).last_hidden_state - t["target"]).square().mean(),
                     weight_name=lambda weight: f"text_model.{weight}")


def vae_gradients():
    model = AutoencoderKL.from_pretrained(GOLDEN / "vae" / "two-levels")
    g = generator(12)
    inputs = {"image": torch.rand(1, 3, 10, 14, generator=g) * 2 - 1, "noise": torch.randn(1, 3, 5, 7, generator=g),
              "target": torch.rand(1, 3, 10, 14, generator=g) * 2 - 1}

    def loss(t):
        posterior = model.encode(t["image"]).latent_dist
        return (model.decode(posterior.mean + posterior.std * t["noise"]).sample - t["target"]).square().mean()

    return gradients(model, inputs, ("image",), loss)


if __name__ == "__main__":
    folder = fresh(GOLDEN / "gradient")
    write_tensors(folder / "unet.safetensors", unet_gradients())
    write_tensors(folder / "clip-text.safetensors", clip_text_gradients())
    write_tensors(folder / "vae.safetensors", vae_gradients())
    report(folder)
