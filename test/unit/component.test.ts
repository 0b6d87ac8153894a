import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, describe, expect, test } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32 } from "../../src/ground/tensor.ts"
import type { ParameterSpec } from "../../src/models/parameters/module.ts"
import { checkAllRead, componentWeights, openComponent } from "../../src/pipelines/component.ts"
import { parsePythonJson } from "../../src/pipelines/files.ts"
import { pickled, torchCheckpoint, torchZip } from "./torch-writer.ts"

let folder: string
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "limn-component-"))
  write("config.json", "{}")
})
afterEach(() => rmSync(folder, { recursive: true }))

const a = float32([2, 3], [1, 2, 3, 4, 5, 6])
const b = float32([2], [7, 8])

function write(name: string, content: string | Uint8Array): void {
  writeFileSync(join(folder, name), content)
}

function writeTensors(name: string, tensors: Record<string, Tensor>): void {
  const bytes = name.endsWith(".bin")
    ? torchCheckpoint(new Map(Object.entries(tensors)))
    : Buffer.concat(encodeSafetensors(tensors))
  write(name, bytes)
}

function writeIndex(name: string, map: unknown): void {
  write(name, JSON.stringify({ metadata: { total_size: 32 }, weight_map: map }))
}

async function names(variant?: string): Promise<string[]> {
  return [...(await openComponent(folder, { variant })).tensors.keys()].sort()
}

describe("openComponent finds weights", () => {
  test.each([
    "model.safetensors",
    "diffusion_pytorch_model.safetensors",
    "model.fp16.safetensors",
    "pytorch_model.bin",
    "diffusion_pytorch_model.bin",
    "pytorch_model.fp16.bin",
  ])("in %s", async (name) => {
    writeTensors(name, { a })
    const { tensors, path } = await openComponent(folder)
    const { dtype, shape, storage } = tensors.get("a")!
    expect({ dtype, shape }).toEqual({ dtype: "float32", shape: [2, 3] })
    expect(storage).toMatchObject({ kind: "file", file: join(path, name), length: 24 })
  })

  test("of the wanted variant, else the most exact", async () => {
    writeTensors("model.safetensors", { full: a })
    writeTensors("model.fp16.safetensors", { half: a })
    expect(await names()).toEqual(["full"])
    expect(await names("fp16")).toEqual(["half"])
    expect(await names("bf16")).toEqual(["full"])
  })

  test("in safetensors where there are any", async () => {
    writeTensors("pytorch_model.bin", { pickled: a })
    writeTensors("model.fp16.safetensors", { half: a })
    expect(await names()).toEqual(["half"])
  })

  test.each([
    ["model.safetensors.index.json", "model-00001-of-00002.safetensors", undefined],
    ["model.fp16.safetensors.index.json", "model.fp16-00001-of-00002.safetensors", "fp16"],
    ["model.safetensors.index.fp16.json", "model.fp16-00001-of-00002.safetensors", "fp16"],
    ["model.safetensors.index.fp16.json", "model-00001-of-00002.fp16.safetensors", "fp16"],
    ["pytorch_model.bin.index.json", "pytorch_model-00001-of-00002.bin", undefined],
    [
      "diffusion_pytorch_model.fp16.bin.index.json",
      "diffusion_pytorch_model.fp16-00001-of-00002.bin",
      "fp16",
    ],
    ["pytorch_model.bin.index.fp16.json", "pytorch_model-00001-of-00002.fp16.bin", "fp16"],
  ])("in shards by %s", async (index, first, variant) => {
    const second = first.replace("1-of", "2-of")
    writeTensors(first, { a })
    writeTensors(second, { b })
    writeIndex(index, { a: first, b: second })
    expect(await names(variant)).toEqual(["a", "b"])
  })
})

describe("openComponent says what is wrong", () => {
  const refuses = (message: string | RegExp) => expect(openComponent(folder)).rejects.toThrow(message)

  test("no config.json", async () => {
    rmSync(join(folder, "config.json"))
    await refuses(/There is no .*config\.json; give the folder of one model/)
  })
  test("broken JSON", async () => {
    write("config.json", "{")
    await refuses(/config\.json is not valid JSON \(.*\); fetch it again\.$/)
  })
  test("no weights", () =>
    refuses(
      /holds no weights; limn looks for (\w+\.safetensors, ){2}diffusion_pytorch_model\.bin, pytorch_model\.bin\.$/,
    ))
  test("a file of neither format", async () => {
    write("pytorch_model.bin", "<html>")
    await refuses(/pytorch_model\.bin is neither a safetensors file nor one of PyTorch's; fetch it again\.$/)
  })
  test("a truncated file", async () => {
    write("model.safetensors", Buffer.concat(encodeSafetensors({ a })).subarray(0, -4))
    await refuses("model.safetensors")
  })
  test("views that would fill more memory than the file", async () => {
    const view = pickled.tensor("0", "float32", 4096, [64, 64], [1, 64])
    const names = ["a", "b"].map((name) => [name, view] as const)
    const storage = { "0": new Uint8Array(4 * 4096) }
    write("pytorch_model.bin", torchZip(pickled.whole(pickled.dict(names.slice(1))), storage))
    expect((await openComponent(folder)).tensors.get("b")?.storage.kind).toBe("memory")
    write("pytorch_model.bin", torchZip(pickled.whole(pickled.dict(names)), storage))
    await refuses(/^The views in .*pytorch_model\.bin would take more memory than the file/)
  })
  test("an index without a map", async () => {
    write("model.safetensors.index.json", "[]")
    await refuses(/has no "weight_map"; fetch it again\.$/)
  })
  test.each(["../model.safetensors", "/etc/passwd", "C:model.safetensors", "a.bin", 3])(
    "an index that points to %j",
    async (file) => {
      writeIndex("model.safetensors.index.json", { a: file })
      await refuses("which is no name of a .safetensors file")
    },
  )
  test("an index that names a file that is not there", async () => {
    writeTensors("model-1.safetensors", { a })
    writeIndex("model.safetensors.index.json", { a: "model-1.safetensors", b: "model-2.safetensors" })
    await refuses(/index\.json names .*model-2\.safetensors, which is not there; fetch it too\.$/)
  })
  test("an index of both formats", async () => {
    writeTensors("model-1.bin", { a })
    writeIndex("pytorch_model.bin.index.json", { a: "model-1.bin", b: "model-2.safetensors" })
    await refuses('says that b is in "model-2.safetensors", which is no name of a .bin file.')
  })
  test("a shard without a tensor that the index gives it", async () => {
    writeTensors("s1.safetensors", { a })
    writeIndex("model.safetensors.index.json", { a: "s1.safetensors", b: "s1.safetensors" })
    await refuses("has no tensor b, which the index says it holds")
  })
  test("a tensor in two shards", async () => {
    writeTensors("s1.safetensors", { a })
    writeTensors("s2.safetensors", { a, b })
    writeIndex("model.safetensors.index.json", { a: "s1.safetensors", b: "s2.safetensors" })
    await refuses("holds a, which another file or name gives too")
  })
})

describe("componentWeights", () => {
  const spec = (name: string, shape: number[]): ParameterSpec => ({
    name,
    shape,
    init: { kind: "constant", value: 0 },
  })
  const weightsFor = async (...specs: ParameterSpec[]) => componentWeights(await openComponent(folder), specs)
  beforeEach(() => writeTensors("model.safetensors", { a, b }))

  test("names a tensor that is missing", () =>
    expect(weightsFor(spec("a", [2, 3]), spec("b", [2]), spec("c", [1]))).rejects.toThrow(/lacks c/))
  test("names both shapes where they differ", () =>
    expect(weightsFor(spec("a", [3, 2]), spec("b", [2]))).rejects.toThrow(/\[2, 3\].*\[3, 2\]/))
  test("names a tensor that is too much", () =>
    expect(weightsFor(spec("a", [2, 3]))).rejects.toThrow(/also holds b/))
  test("remembers what each graph has read", async () => {
    const make = await weightsFor(spec("a", [2, 3]), spec("b", [2]))
    const weights = make()
    weights.get("a")
    expect(() => checkAllRead(weights)).toThrow("built without 1 of its tensors, b the first")
    checkAllRead(weights, { unused: (name) => name === "b" })
    expect(make().unread()).toEqual(["a", "b"])
  })
})

test("JSON as Python writes it", () => {
  expect(parsePythonJson('{"a": -Infinity, "b": [Infinity, NaN], "c": "-Infinity \\" NaN", "d": 1}')).toEqual(
    { a: Number.NEGATIVE_INFINITY, b: [Number.POSITIVE_INFINITY, null], c: '-Infinity " NaN', d: 1 },
  )
  expect(() => parsePythonJson("{a: 1}")).toThrow(SyntaxError)
})
