import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it, test } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import type { StoredWeight } from "../../src/graph/weights.ts"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import { formatShape } from "../../src/ground/shape.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, zeros } from "../../src/ground/tensor.ts"
import {
  compVisAutoencoderName,
  compVisAverageName,
  compVisUNetName,
} from "../../src/models/compvis-names.ts"
import { autoencoderConfig } from "../../src/models/config/autoencoder.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { autoencoderParameters } from "../../src/models/parameters/autoencoder.ts"
import { unetParameters } from "../../src/models/parameters/unet.ts"
import { stableDiffusion1Configs } from "../../src/models/stable-diffusion-1.ts"
import { componentWeights } from "../../src/pipelines/component.ts"
import { load } from "../../src/pipelines/load.ts"
import { openSingleFile } from "../../src/pipelines/single-file.ts"
import { clipL, sd14Autoencoder, sd14Unet } from "./published-configs.ts"
import { inOneFile, originalNames, tinyModel } from "./tiny-stable-diffusion.ts"
import { pickled, torchCheckpoint, torchZip } from "./torch-writer.ts"

const unet = unetConfig(sd14Unet, "unet")
const vae = autoencoderConfig(sd14Autoencoder, "vae")

describe("names of the original files", () => {
  const theirs = new Map(originalNames.map(([name, ours]) => [ours, name]))

  it("are those that diffusers' converter reads, with none left", () => {
    const named = [
      ...unetParameters(unet).map(
        ({ name }) => [`unet.${name}`, `model.diffusion_model.${compVisUNetName(name, unet)}`] as const,
      ),
      ...autoencoderParameters(vae).map(
        ({ name }) => [`vae.${name}`, `first_stage_model.${compVisAutoencoderName(name, vae)}`] as const,
      ),
    ]
    expect(new Map(named)).toEqual(theirs)
    expect(named).toHaveLength(934)
  })

  it("have our shapes, but for the autoencoder's attention, a convolution there", () => {
    const shapes = new Map(originalNames.map(([, ours, shape]) => [ours, shape]))
    const specs = [
      ...unetParameters(unet).map(({ name, shape }) => [`unet.${name}`, shape] as const),
      ...autoencoderParameters(vae).map(({ name, shape }) => [`vae.${name}`, shape] as const),
    ]
    const other = specs.filter(([name, shape]) => shapes.get(name) !== formatShape(shape))
    expect(other.map(([name]) => name.replace(/^vae\.(en|de)coder\.mid_block\.attentions\.0\./, ""))).toEqual(
      ["to_q", "to_k", "to_v", "to_out.0", "to_q", "to_k", "to_v", "to_out.0"].map(
        (layer) => `${layer}.weight`,
      ),
    )
    for (const [name, shape] of other) expect(shapes.get(name)).toBe(formatShape([...shape, 1, 1]))
  })

  it("of averages have no dots", () => {
    expect(compVisAverageName("model.diffusion_model.input_blocks.0.0.weight")).toBe(
      "model_ema.diffusion_modelinput_blocks00weight",
    )
  })
})

test("the configurations are those published where no tensor says otherwise", () => {
  const configs = stableDiffusion1Configs(() => undefined)
  expect(unetConfig(configs.unet, "")).toEqual(unet)
  expect(autoencoderConfig(configs.vae, "")).toEqual(vae)
  expect(clipTextConfig(configs.text, "")).toEqual(clipTextConfig(clipL, ""))
})

let folder: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "limn-single-"))
})
afterAll(() => rmSync(folder, { recursive: true }))

function write(name: string, content: Uint8Array | ReadonlyMap<string, Tensor>): string {
  const path = join(folder, name)
  const torch = !name.endsWith(".safetensors")
  if (content instanceof Uint8Array) writeFileSync(path, content)
  else writeFileSync(path, torch ? torchCheckpoint(content) : Buffer.concat(encodeSafetensors(content)))
  return path
}

const model = tinyModel(1)
const whole = inOneFile(model)
const without = (...patterns: RegExp[]) =>
  new Map([...whole].filter(([name]) => !patterns.some((pattern) => pattern.test(name))))

/** A stored weight's bytes, whichever way it is stored. */
function bytesOf({ storage }: StoredWeight): Buffer {
  if (storage.kind === "file")
    return readFileSync(storage.file).subarray(storage.offset, storage.offset + storage.length)
  const { data } = storage.tensor
  return Buffer.from(data.buffer, data.byteOffset, data.byteLength)
}

function expectTensors(
  found: ReadonlyMap<string, StoredWeight>,
  expected: ReadonlyMap<string, Tensor>,
): void {
  const file = new Map<string, Buffer>()
  for (const [name, { shape, data }] of expected) {
    const weight = found.get(name)!
    expect(weight.shape, name).toEqual(shape)
    if (weight.storage.kind !== "file") throw new Error(`${name} is not in a file`)
    const { file: path, offset, length } = weight.storage
    if (!file.has(path)) file.set(path, readFileSync(path))
    const bytes = file.get(path)!.subarray(offset, offset + length)
    expect(bytes.equals(Buffer.from(data.buffer, data.byteOffset, data.byteLength)), name).toBe(true)
  }
}

describe("a checkpoint in one file", () => {
  it.each(["model.safetensors", "model.ckpt"])(
    "%s gives each part its tensors, where they lie",
    async (name) => {
      const parts = await openSingleFile(write(name, whole))
      expectTensors(parts.unet.tensors, model.unet)
      expectTensors(parts.vae.tensors, model.vae)
      expectTensors(parts.texts[0].files.tensors, model.text_encoder)
      expect(parts.schedulerConfig).toMatchObject({ _class_name: "PNDMScheduler" })
      expect(parts.texts[0].tokenizer.tokenize("a cat").ids.slice(0, 4)).toEqual([49406, 320, 2368, 49407])
    },
  )

  it("may keep an average of the U-Net, taken where asked for or where it is alone", async () => {
    const averages = new Map(
      [...whole]
        .filter(([name]) => name.startsWith("model."))
        .map(([name, t]) => [
          compVisAverageName(name),
          float32(
            t.shape,
            (t.data as Float32Array).map((x) => x + 1),
          ),
        ]),
    )
    const averaged = new Map(
      [...model.unet].map(([name, t]) => [
        name,
        float32(
          t.shape,
          (t.data as Float32Array).map((x) => x + 1),
        ),
      ]),
    )
    const decay = ["model_ema.decay", float32([], [0.999])] as const
    const both = write("both.ckpt", new Map([...whole, ...averages, decay]))
    expectTensors((await openSingleFile(both)).unet.tensors, model.unet)
    expectTensors((await openSingleFile(both, { ema: true })).unet.tensors, averaged)
    const alone = write("ema.ckpt", new Map([...without(/^model\./), ...averages, decay]))
    expectTensors((await openSingleFile(alone)).unet.tensors, averaged)
    expectTensors((await openSingleFile(write("live.ckpt", whole), { ema: true })).unet.tensors, model.unet)
  })

  it("may name the text encoder without its half", async () => {
    const short = [...whole].map(([name, t]) => [name.replace(".text_model.", "."), t] as const)
    expectTensors(
      (await openSingleFile(write("short.safetensors", new Map(short)))).texts[0].files.tensors,
      model.text_encoder,
    )
  })

  it("may keep a tensor in another order, which is copied", async () => {
    const pickle = pickled.whole(
      pickled.dict(
        [...whole].map(([name, { dtype, shape, data }], i) => [
          name,
          name.endsWith("decoder.mid.attn_1.q.weight")
            ? pickled.tensor(String(i), dtype, data.length, shape, [1, shape[0], 1, 1])
            : pickled.tensor(String(i), dtype, data.length, shape),
        ]),
      ),
    )
    const storages = [...whole.values()].map(({ data }, i) => [
      String(i),
      new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    ])
    const { vae } = await openSingleFile(write("turned.ckpt", torchZip(pickle, Object.fromEntries(storages))))
    const name = "decoder.mid_block.attentions.0.to_q.weight"
    const { data, shape } = model.vae.get(name)!
    const turned = vae.tensors.get(name)!
    expect(turned).toMatchObject({ shape, storage: { kind: "memory", tensor: { shape } } })
    const expected = Float32Array.from(data as Float32Array, (_, i) =>
      Number(data[(i % shape[1]) * shape[0] + Math.floor(i / shape[1])]),
    )
    expect(bytesOf(turned).equals(Buffer.from(expected.buffer))).toBe(true)
  })
})

describe("one sentence says what is wrong with", () => {
  const sentence = /^[^\n]{1,400}\.$/
  const refuses = async (path: string, kind: typeof LimnError, message: string | RegExp) => {
    const loading = load(path, { device: "cpu" })
    await expect(loading).rejects.toThrow(kind)
    await expect(loading).rejects.toThrow(message)
    await expect(loading).rejects.toThrow(sentence)
  }
  const tensors = (...names: string[]) => new Map(names.map((name) => [name, zeros("float32", [1, 4])]))
  const input = (channels: number) =>
    ["model.diffusion_model.input_blocks.0.0.weight", zeros("float32", [32, channels, 3, 3])] as const

  test.each([
    [
      "a Stable Diffusion 2.x model",
      tensors("model.diffusion_model.input_blocks.1", "cond_stage_model.model.positional_embedding"),
    ],
    [
      "a Stable Diffusion XL model",
      tensors(
        "model.diffusion_model.input_blocks.1",
        "conditioner.embedders.0.transformer.x",
        "conditioner.embedders.1.model.logit_scale",
      ),
    ],
    [
      "a Stable Diffusion XL refiner",
      tensors("model.diffusion_model.input_blocks.1", "conditioner.embedders.0.model.logit_scale"),
    ],
    ["a Stable Diffusion 3 model", tensors("model.diffusion_model.joint_blocks.0.x")],
    ["a FLUX model", tensors("double_blocks.0.img_attn.norm.key_norm.scale")],
    ["a Stable Diffusion 1.x model without its autoencoder", without(/^first_stage_model/)],
    ["a Stable Diffusion 1.x model for inpainting", new Map([...whole, input(9)])],
    ["a Stable Diffusion 1.x model that edits pictures", new Map([...whole, input(8)])],
    ["a LoRA for another model", tensors("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight")],
    ["a LoRA for another model", tensors("<s1>", "unet:0:down", "unet:0:up")],
    ["a ControlNet", tensors("control_model.time_embed.0.weight")],
    ["an IP-Adapter", tensors("image_proj.latents", "ip_adapter.1.to_k_ip.weight")],
    ["a textual inversion", tensors("<cat-toy>")],
    [
      "a U-Net without the rest of its model",
      tensors("down_blocks.0.attentions.0.transformer_blocks.0.norm1.weight"),
    ],
    ["a U-Net without the rest of its model", tensors("model.diffusion_model.input_blocks.0.0.weight")],
    [
      "an autoencoder without the rest of its model",
      tensors("first_stage_model.decoder.up.0.block.0.norm1.weight"),
    ],
    ["an autoencoder without the rest of its model", tensors("decoder.mid_block.resnets.0.conv1.weight")],
    ["half of TAESD, a tiny autoencoder", tensors("1.weight", "3.conv.4.weight")],
    [
      "a text encoder without the rest of its model",
      tensors("text_model.encoder.layers.0.layer_norm1.weight"),
    ],
    [
      "a latent diffusion model from before Stable Diffusion",
      tensors("model.diffusion_model.input_blocks.1", "cond_stage_model.transformer.token_emb.weight"),
    ],
  ])("%s", (name, content) =>
    refuses(
      write("other.safetensors", content),
      LimnError,
      `looks like ${name}, which limn does not load as a model yet`,
    ),
  )
  test("a file of no known family", () =>
    refuses(
      write("other.ckpt", tensors("layer.weight", "layer.bias")),
      FormatError,
      "is of no family that limn knows: its 2 tensors begin with layer.weight [1, 4], layer.bias [1, 4]; give",
    ))
  test("a pickle that is no checkpoint", () =>
    refuses(
      write("number.ckpt", pickled.whole(pickled.int(3))),
      FormatError,
      "is a pickle, but nothing that torch.save",
    ))
  test("a PyTorch file without tensors", () =>
    refuses(
      write("number.pt", torchZip(pickled.whole(pickled.int(3)))),
      FormatError,
      "holds no tensors that limn finds",
    ))
  test("a file of something else", () =>
    refuses(
      write("page.ckpt", Buffer.from("<html>not found</html>")),
      FormatError,
      "is neither a safetensors file nor one of PyTorch's",
    ))
  test("an empty file", () => refuses(write("empty.ckpt", Buffer.alloc(0)), FormatError, "is neither"))
  test("a file cut short", async () => {
    await refuses(write("short.ckpt", torchCheckpoint(whole).subarray(0, -1000)), FormatError, "is cut short")
    const bytes = Buffer.concat(encodeSafetensors(whole)).subarray(0, -1000)
    await refuses(write("short.safetensors", bytes), FormatError, /short\.safetensors/)
  })
  test("a file that is not there", () => refuses(join(folder, "absent.ckpt"), UsageError, "There is no file"))
  test("a model without some of its tensors", () =>
    refuses(
      write("less.safetensors", without(/output_blocks\.3\./)),
      FormatError,
      /less\.safetensors lacks up_blocks\.1\.attentions\.0\.norm\.weight, .* and \d+ more of the 686 tensors that a Stable Diffusion 1\.x model asks for; download it again, or give the folder/,
    ))
  test("a model with tensors too many", () =>
    refuses(
      write(
        "more.safetensors",
        new Map([...whole, ["first_stage_model.decoder.extra", zeros("float32", [1])]]),
      ),
      FormatError,
      "also holds first_stage_model.decoder.extra, which a Stable Diffusion 1.x model does not ask for",
    ))
  test("a model with a tensor of another shape", () =>
    refuses(
      write(
        "other.safetensors",
        new Map([...whole, ["model.diffusion_model.out.2.bias", zeros("float32", [5])]]),
      ),
      FormatError,
      "holds conv_out.bias with shape [5] where a Stable Diffusion 1.x model asks for [4]; give the folder",
    ))
})

test("position_ids and schedules are passed over", async () => {
  const { texts } = await openSingleFile(write("model.safetensors", whole))
  const specs = [...model.text_encoder].map(([name, { shape }]) => ({
    name,
    shape,
    init: { kind: "constant", value: 0 } as const,
  }))
  expect(() => componentWeights(texts[0].files, specs)).not.toThrow()
})
