import { linkSync, mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, it, test } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import type { StoredWeight } from "../../src/graph/weights.ts"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, zeros } from "../../src/ground/tensor.ts"
import { compVisAverageName } from "../../src/models/compvis-names.ts"
import { likenessOf } from "../../src/models/likeness.ts"
import { componentWeights } from "../../src/pipelines/component.ts"
import { load } from "../../src/pipelines/load.ts"
import { openSingleFile } from "../../src/pipelines/single-file.ts"
import type { WholeModel } from "../unit/tiny-stable-diffusion.ts"
import { inOneFile, rounded, tinyModel, tinyStableDiffusionXl } from "../unit/tiny-stable-diffusion.ts"
import { pickled, torchCheckpoint, torchZip } from "../unit/torch-writer.ts"

let folder: string
let safetensors: string
let checkpoint: string
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "limn-single-"))
  safetensors = write("model.safetensors", whole)
  checkpoint = write("model.ckpt", whole)
})
afterAll(() => rmSync(folder, { recursive: true }))

function write(name: string, content: Uint8Array | ReadonlyMap<string, Tensor>): string {
  const path = join(folder, name)
  const torch = !name.endsWith(".safetensors")
  if (content instanceof Uint8Array) writeFileSync(path, content)
  else writeFileSync(path, torch ? torchCheckpoint(content) : Buffer.concat(encodeSafetensors(content)))
  return path
}

/** A safetensors file whose numbers are all zero, for where nobody looks at them: it takes no time to write. */
function outline(
  name: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata?: Readonly<Record<string, string>>,
): string {
  const [header, ...data] = encodeSafetensors(tensors, metadata)
  const path = write(name, header)
  truncateSync(
    path,
    data.reduce((size, { length }) => size + length, header.length),
  )
  return path
}

const model = tinyModel(1)
const whole = inOneFile(model)
const without = (...patterns: RegExp[]) =>
  new Map([...whole].filter(([name]) => !patterns.some((pattern) => pattern.test(name))))

const input = (channels: number) =>
  ["model.diffusion_model.input_blocks.0.0.weight", zeros("float32", [32, channels, 3, 3])] as const

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
    if (name === "text_projection.weight") {
      expect(bytesOf(weight).equals(Buffer.from(data.buffer, data.byteOffset, data.byteLength))).toBe(true)
      continue
    }
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
      const parts = await openSingleFile(join(folder, name))
      expectTensors(parts.unet.tensors, model.parts.unet)
      expectTensors(parts.vae.tensors, model.parts.vae)
      expectTensors(parts.texts[0].files.tensors, model.parts.text_encoder)
      expect(parts.schedulerConfig).toMatchObject({ _class_name: "PNDMScheduler" })
      expect(parts.texts[0].tokenizer.tokenize("a cat").ids.slice(0, 4)).toEqual([49406, 320, 2368, 49407])
    },
  )

  it("may keep an average of the U-Net, taken where asked for or where it is alone", async () => {
    const average = tinyModel(2)
    const averages = [...inOneFile(average)]
      .filter(([name]) => name.startsWith("model."))
      .map(([name, tensor]) => [compVisAverageName(name), tensor] as const)
    const decay = ["model_ema.decay", float32([], [0.999])] as const
    const both = write("both.ckpt", new Map([...whole, ...averages, decay]))
    expectTensors((await openSingleFile(both)).unet.tensors, model.parts.unet)
    expectTensors((await openSingleFile(both, { ema: true })).unet.tensors, average.parts.unet)
    const alone = write("ema.safetensors", new Map([...without(/^model\./), ...averages, decay]))
    expectTensors((await openSingleFile(alone)).unet.tensors, average.parts.unet)
    expectTensors((await openSingleFile(checkpoint, { ema: true })).unet.tensors, model.parts.unet)
  })

  it("may name the text encoder without its half", async () => {
    const short = [...whole].map(([name, t]) => [name.replace(".text_model.", "."), t] as const)
    expectTensors(
      (await openSingleFile(write("short.safetensors", new Map(short)))).texts[0].files.tensors,
      model.parts.text_encoder,
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
    const { data, shape } = model.parts.vae.get(name)!
    const turned = vae.tensors.get(name)!
    expect(turned).toMatchObject({ shape, storage: { kind: "memory", tensor: { shape } } })
    const expected = Float32Array.from(data as Float32Array, (_, i) =>
      Number(data[(i % shape[1]) * shape[0] + Math.floor(i / shape[1])]),
    )
    expect(bytesOf(turned).equals(Buffer.from(expected.buffer))).toBe(true)
  })
})

describe("SDXL in one file", () => {
  let xl: WholeModel
  let file: string
  beforeAll(() => {
    xl = tinyModel(7, tinyStableDiffusionXl)
    file = write("xl.safetensors", inOneFile(xl))
  })

  it.each(["xl.safetensors", "xl.ckpt"])("%s gives each part its tensors", async (name) => {
    const parts = await openSingleFile(name === "xl.ckpt" ? write(name, inOneFile(xl)) : file)
    expectTensors(parts.unet.tensors, xl.parts.unet)
    expectTensors(parts.vae.tensors, xl.parts.vae)
    expectTensors(parts.texts[0].files.tensors, xl.parts.text_encoder)
    expectTensors(parts.texts[1].files.tensors, xl.parts.text_encoder_2)
    expect(parts.schedulerConfig).toMatchObject({ _class_name: "EulerDiscreteScheduler" })
    expect(parts).toMatchObject({ defaults: { steps: 50, guidanceScale: 5 }, zeroNegative: true })
    const ids = parts.texts.map(({ tokenizer }) => tokenizer.tokenize("a cat").ids.slice(0, 5))
    expect(ids).toEqual([
      [49406, 320, 2368, 49407, 49407],
      [49406, 320, 2368, 49407, 0],
    ])
  })

  it("loads, with the widths that its tensors have", async () => {
    const model = await load(file, { device: "cpu" })
    expect(model).toMatchObject({
      size: [1024, 1024],
      unetConfig: {
        blockOutChannels: [64, 64, 64],
        attentionHeads: [1, 1, 1],
        crossAttentionDim: [128, 128, 128],
      },
      textEncoders: [
        { config: { numHiddenLayers: 2 } },
        { config: { numHiddenLayers: 3, projectionDim: 48 } },
      ],
    })
    await model.close()
  })

  it("is Turbo where its name or its title says so", async () => {
    const turbo = {
      defaults: { steps: 1, guidanceScale: 0 },
      schedulerConfig: { _class_name: "EulerAncestralDiscreteScheduler", timestep_spacing: "trailing" },
      unet: { config: { sample_size: 64 } },
    }
    const named = join(folder, "sd_xl_Turbo_1.0.safetensors")
    linkSync(file, named)
    expect(await openSingleFile(named)).toMatchObject(turbo)
    const titled = (title: string) =>
      outline("titled.safetensors", inOneFile(xl), { "modelspec.title": title })
    expect(await openSingleFile(titled("SDXL Turbo"))).toMatchObject(turbo)
    expect(await openSingleFile(titled("SDXL"))).not.toMatchObject(turbo)
  })

  it("may fill in masks", () => {
    const wider = ["model.diffusion_model.input_blocks.0.0.weight", zeros("float32", [64, 9, 3, 3])] as const
    expect(likenessOf(new Map([...inOneFile(xl), wider]))).toMatchObject({
      name: "a Stable Diffusion XL model for inpainting",
      runs: "stable-diffusion-xl",
    })
  })

  it.each([
    ["transformer.resblocks.1.attn.in_proj_weight", [191, 64], /_proj\.weight with shape \[191, 64\] where/],
    ["text_projection", [63, 48], "text_projection.weight with shape [63, 48] where"],
    ["text_projection", [64, 47], "needs a pooled text 48 wide, and its text encoders give 47"],
  ])("is refused with %s of another shape", async (name, shape, message) => {
    const other = [`conditioner.embedders.1.model.${name}`, zeros("float32", shape)] as const
    const loading = load(outline("bad.safetensors", new Map([...inOneFile(xl), other])), { device: "cpu" })
    await expect(loading).rejects.toThrow(FormatError)
    await expect(loading).rejects.toThrow(message)
  })
})

describe("half precision and masks", () => {
  it.each(["float16", "bfloat16"] as const)("%s is read where it lies", async (dtype) => {
    const half = rounded(model, dtype)
    const { unet } = await openSingleFile(write("half.safetensors", inOneFile(half)))
    expectTensors(unet.tensors, half.parts.unet)
    expect(unet.tensors.get("conv_in.weight")).toMatchObject({ dtype })
  })

  it("nine channels are read from the tensors", async () => {
    const nine = new Map([...whole, input(9)])
    const loaded = await load(outline("inpainting.safetensors", nine), { device: "cpu" })
    expect(loaded.unetConfig.inChannels).toBe(9)
    await loaded.close()
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
  const xlNames = tensors(
    "model.diffusion_model.input_blocks.1",
    "conditioner.embedders.0.transformer.text_model.x",
    "conditioner.embedders.1.model.logit_scale",
    "first_stage_model.x",
  )

  test.each([
    [
      "a Stable Diffusion 2.x model",
      tensors("model.diffusion_model.input_blocks.1", "cond_stage_model.model.positional_embedding"),
    ],
    [
      "a Stable Diffusion XL model without all of its parts",
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
    [
      "a Stable Diffusion 1.x model without its autoencoder",
      new Map([...without(/^first_stage_model/), input(9)]),
    ],
    ["a Stable Diffusion XL model that edits pictures", new Map([...xlNames, input(8)])],
    ["a Stable Diffusion XL model that predicts velocities", new Map([...xlNames, ...tensors("v_pred")])],
    ["a Playground 2.5 model", new Map([...xlNames, ...tensors("edm_mean")])],
    ["a Stable Diffusion 1.x model that edits pictures", new Map([...whole, input(8)])],
    ["a LoRA for another model", tensors("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight")],
    ["a LoRA for another model", tensors("<s1>", "unet:0:down", "unet:0:up")],
    ["a ControlNet", tensors("control_model.time_embed.0.weight")],
    ["an IP-Adapter", tensors("image_proj.latents", "ip_adapter.1.to_k_ip.weight")],
    ["a textual inversion", tensors("<cat-toy>")],
    ["a textual inversion", tensors("clip_l", "clip_g")],
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
      outline("other.safetensors", content),
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
    const cut = (path: string, name: string) => write(name, readFileSync(path).subarray(0, -1000))
    await refuses(cut(checkpoint, "short.ckpt"), FormatError, "is cut short")
    await refuses(cut(safetensors, "short.safetensors"), FormatError, /short\.safetensors/)
  })
  test("a file that is not there", () => refuses(join(folder, "absent.ckpt"), UsageError, "There is no file"))
  test("a model without some of its tensors", () =>
    refuses(
      outline("less.safetensors", without(/output_blocks\.3\./)),
      FormatError,
      /less\.safetensors lacks up_blocks\.1\.attentions\.0\.norm\.weight, .* and \d+ more of the 686 tensors that a Stable Diffusion 1\.x model asks for; download it again, or give the folder/,
    ))
  test("a model with tensors too many", () =>
    refuses(
      outline(
        "more.safetensors",
        new Map([...whole, ["first_stage_model.decoder.extra", zeros("float32", [1])]]),
      ),
      FormatError,
      "also holds first_stage_model.decoder.extra, which a Stable Diffusion 1.x model does not ask for",
    ))
  test("a model with a tensor of another shape", () =>
    refuses(
      outline(
        "other.safetensors",
        new Map([...whole, ["model.diffusion_model.out.2.bias", zeros("float32", [5])]]),
      ),
      FormatError,
      "holds conv_out.bias with shape [5] where a Stable Diffusion 1.x model asks for [4]; give the folder",
    ))
})

test("position_ids, schedules and safety checkers are passed over", async () => {
  const checker = ["safety_checker.concept_embeds", float32([1, 2], [1, 2])] as const
  const { texts } = await openSingleFile(outline("checked.safetensors", new Map([...whole, checker])))
  const specs = [...model.parts.text_encoder].map(([name, { shape }]) => ({
    name,
    shape,
    init: { kind: "constant", value: 0 } as const,
  }))
  expect(() => componentWeights(texts[0].files, specs)).not.toThrow()
})
