import { rmSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it, vi } from "vitest"
import { LimnError, UsageError } from "../../src/ground/errors.ts"
import { hubModel } from "../../src/pipelines/hub-model.ts"
import { load } from "../../src/pipelines/load.ts"
import * as browser from "../../src/runtime/platform/browser/index.ts"
import { goldenFolder } from "./golden.ts"
import { commit, hubFixture, namesBelow } from "./hub-fixture.ts"
import { filesIn } from "./hub-server.ts"

const on = hubFixture()

const published = filesIn(join(goldenFolder, "pipeline/model"))
const nothing = Buffer.from("weights")

/** Serves the tiny model with other files beside it, or in place of some; `undefined` takes one away. */
function serve(changes: Readonly<Record<string, Uint8Array | string | undefined>>): void {
  const files: Record<string, Uint8Array> = { ...published }
  for (const [name, content] of Object.entries(changes))
    if (content === undefined) delete files[name]
    else files[name] = Buffer.from(content)
  on.hub.repos["org/tiny"] = { files, commit }
}

/** What of the published model is fetched beside its weights. */
const settings = [
  "model_index.json",
  "scheduler/scheduler_config.json",
  "text_encoder/config.json",
  "tokenizer/merges.txt",
  "tokenizer/special_tokens_map.json",
  "tokenizer/tokenizer_config.json",
  "tokenizer/vocab.json",
  "unet/config.json",
  "vae/config.json",
]
const plain = [
  "text_encoder/model.safetensors",
  "unet/diffusion_pytorch_model.safetensors",
  "vae/diffusion_pytorch_model.safetensors",
]

/** Other forms of the weights that the published repositories hold. */
const others = {
  "README.md": "# tiny",
  "sd-v1-4.ckpt": nothing,
  "feature_extractor/preprocessor_config.json": "{}",
  "safety_checker/config.json": "{}",
  "safety_checker/model.safetensors": nothing,
  "text_encoder/pytorch_model.bin": nothing,
  "text_encoder/model.fp16.safetensors": nothing,
  "text_encoder/flax_model.msgpack": nothing,
  "unet/diffusion_pytorch_model.bin": nothing,
  "unet/diffusion_pytorch_model.non_ema.safetensors": nothing,
  "unet/diffusion_pytorch_model.fp16.safetensors": nothing,
  "unet/model.onnx": nothing,
  "unet/model.onnx_data": nothing,
  "vae/diffusion_pytorch_model.bin": nothing,
  "vae/nested/config.json": "{}",
}

async function fetched(variant?: string): Promise<string[]> {
  return namesBelow(await hubModel("org/tiny", { variant }))
}

describe("of a model on the Hub is fetched", () => {
  it("what a run reads, and nothing else", async () => {
    serve(others)
    expect(await fetched()).toEqual([...settings, ...plain].sort())
    expect(on.downloads()).toHaveLength(12)
  })

  it("the wanted variant, and of parts that lack it the most exact", async () => {
    serve(others)
    expect(await fetched("fp16")).toEqual(
      [
        ...settings,
        "text_encoder/model.fp16.safetensors",
        "unet/diffusion_pytorch_model.fp16.safetensors",
        plain[2],
      ].sort(),
    )
    expect(await fetched("non_ema")).toContain("unet/diffusion_pytorch_model.non_ema.safetensors")
  })

  it("a safety checker, where the model has one and it is wanted", async () => {
    const [index] = settings
    const listed = {
      ...JSON.parse(published[index].toString()),
      safety_checker: ["stable_diffusion", "StableDiffusionSafetyChecker"],
    }
    serve({ ...others, [index]: JSON.stringify(listed) })
    const without = await hubModel("org/tiny", { safetyChecker: false })
    expect(namesBelow(without)).toEqual([...settings, ...plain].sort())
    expect(await fetched()).toEqual(
      [
        ...settings,
        ...plain,
        "feature_extractor/preprocessor_config.json",
        "safety_checker/config.json",
        "safety_checker/model.safetensors",
      ].sort(),
    )
  })

  it("what is here already, where nothing may be fetched", async () => {
    serve(others)
    const fp16 = await fetched("fp16")
    vi.stubEnv("HF_HUB_OFFLINE", "1")
    expect(await fetched()).toEqual(fp16)
    expect(await fetched("fp16")).toEqual(fp16)
    rmSync(join(on.repo, "snapshots", commit, "unet/diffusion_pytorch_model.fp16.safetensors"))
    await expect(fetched()).rejects.toThrow("org/tiny is not whole in")
  })

  it("PyTorch's file where there is no other", async () => {
    serve({ ...others, [plain[1]]: undefined, "unet/diffusion_pytorch_model.fp16.safetensors": undefined })
    const names = await fetched()
    expect(names.filter((name) => name.startsWith("unet/"))).toEqual([
      "unet/config.json",
      "unet/diffusion_pytorch_model.bin",
    ])
  })

  it.each([
    [
      "diffusion_pytorch_model.safetensors.index.json",
      undefined,
      "diffusion_pytorch_model-0000*-of-00002.safetensors",
    ],
    [
      "diffusion_pytorch_model.fp16.safetensors.index.json",
      "fp16",
      "diffusion_pytorch_model.fp16-0000*-of-00002.safetensors",
    ],
    [
      "diffusion_pytorch_model.safetensors.index.fp16.json",
      "fp16",
      "diffusion_pytorch_model-0000*-of-00002.fp16.safetensors",
    ],
  ])("every shard that %s names", async (index, variant, pattern) => {
    const shards = [1, 2].map((n) => pattern.replace("*", String(n)))
    serve({
      [plain[1]]: undefined,
      [`unet/${index}`]: JSON.stringify({ weight_map: { a: shards[0], b: shards[1], c: shards[0] } }),
      ...Object.fromEntries(shards.map((name) => [`unet/${name}`, `bytes of ${name}`])),
      "unet/diffusion_pytorch_model-00003-of-00003.safetensors": nothing,
    })
    const names = await fetched(variant)
    expect(names.filter((name) => name.startsWith("unet/"))).toEqual(
      ["config.json", index, ...shards].map((name) => `unet/${name}`).sort(),
    )
  })

  it("what the model recommends", async () => {
    serve({ "limn.json": '{"steps": 3}' })
    const model = await load("org/tiny", { device: "cpu" })
    expect(model).toMatchObject({ name: "org/tiny", defaults: { steps: 3 } })
    await model.close()
  })
})

describe("before weights are fetched it is refused", () => {
  const refused = async (message: RegExp) => {
    const fetching = hubModel("org/tiny", {})
    await expect(fetching).rejects.toThrow(LimnError)
    await expect(fetching).rejects.toThrow(message)
    expect(on.downloads().filter(({ path }) => /(safetensors|bin)$/.test(path))).toEqual([])
  }

  it("a repository that is no model in diffusers' layout", async () => {
    serve({ "model_index.json": undefined })
    await refused(/org\/tiny has no model_index\.json/)
  })

  it("a model of another family", async () => {
    serve({ "model_index.json": '{"transformer": ["diffusers", "SD3Transformer2DModel"]}' })
    await refused(/describes a model of transformer; limn runs/)
  })

  it("a part without weights", async () => {
    serve({ [plain[2]]: undefined })
    await refused(/vae holds no weights/)
  })

  it("an index that reaches out of its folder", async () => {
    serve({
      [plain[1]]: undefined,
      "unet/diffusion_pytorch_model.safetensors.index.json": '{"weight_map": {"a": "../../x.safetensors"}}',
    })
    await refused(/is no name of a \.safetensors file/)
  })

  it("an index that names a shard that is not listed", async () => {
    serve({
      [plain[1]]: undefined,
      "unet/diffusion_pytorch_model.safetensors.index.json": '{"weight_map": {"a": "x.safetensors"}}',
    })
    await refused(/names .*x\.safetensors, which is not there/)
  })
})

it("a folder at the path wins over the Hub, and has no revisions", async () => {
  serve({})
  vi.spyOn(process, "cwd").mockReturnValue(goldenFolder)
  const model = await load("pipeline/model", { device: "cpu" })
  expect(model.name).toBe("model")
  await model.close()
  await expect(load("pipeline/model", { revision: "main" })).rejects.toThrow(UsageError)
  vi.restoreAllMocks()
  expect(on.hub.seen).toEqual([])
})

it("a browser says that it has no cache", async () => {
  const order = { repo: "org/tiny", choose: async () => [] }
  const message = "A browser has no cache of the Hub for org/tiny; give the address of its folder"
  await expect(browser.fetchSnapshot(order)).rejects.toThrow(message)
  await expect(browser.cachedRepo("org/tiny")).rejects.toThrow(message)
})
