import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { FormatError, UsageError } from "../../src/ground/errors.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32, toFloat32 } from "../../src/ground/tensor.ts"
import type { LoadOptions } from "../../src/pipelines/load.ts"
import { load } from "../../src/pipelines/load.ts"
import type { Conditioning } from "../../src/pipelines/model.ts"
import { readPictureSettings } from "../../src/pipelines/picture-settings.ts"
import { encodePrompt } from "../../src/pipelines/prompts.ts"
import { pictureText, resolveSettings } from "../../src/pipelines/settings.ts"
import { sumsIntegers } from "../../src/runtime/kernel-checks.ts"
import { cosineOf } from "../unit/golden.ts"
import { tinyKolors, writeKolors } from "../unit/tiny-kolors.ts"
import type { WholeModel } from "../unit/tiny-stable-diffusion.ts"
import { rounded, tinyModel } from "../unit/tiny-stable-diffusion.ts"

const folder = mkdtempSync(join(tmpdir(), "limn-text-precision-"))
beforeAll(() => writeKolors(folder, rounded(calm(tinyModel(1, tinyKolors)), "float16")))
afterAll(() => rmSync(folder, { recursive: true }))

/** The same with a text encoder whose layers make nothing larger, as those of trained models do not. */
function calm({ family, parts }: WholeModel): WholeModel {
  const text = Array.from(parts.text_encoder, ([name, tensor]): [string, Tensor] => {
    const { shape, data } = toFloat32(tensor)
    return [
      name,
      shape.length > 1
        ? float32(
            shape,
            data.map((value) => 0.6 * value),
          )
        : tensor,
    ]
  })
  return { family, parts: { ...parts, text_encoder: new Map(text) } }
}

/** How many matrices are rounded for its four layers: where sums are exact, pieces of matrices are each one. */
async function matricesOf(textEncoder: "int8" | "int4"): Promise<number> {
  return 4 * (textEncoder === "int8" && (await sumsIntegers()) ? 7 : 4)
}

async function encoded(options: LoadOptions): Promise<Conditioning> {
  const model = await load(folder, { device: "cpu", threads: 1, ...options })
  try {
    return await encodePrompt(model, "a cat 一只猫")
  } finally {
    await model.close()
  }
}

describe("the text encoder of Kolors", () => {
  test.each([
    { textEncoder: "int8", least: 0.9995 },
    { textEncoder: "int4", least: 0.97 },
  ] as const)("says nearly the same in $textEncoder", async ({ textEncoder, least }) => {
    const exact = await encoded({ textEncoder: "float32" })
    const seen: number[] = []
    const found = await encoded({ textEncoder, onQuantize: ({ done, total }) => seen.push(done / total) })
    const matrices = await matricesOf(textEncoder)
    expect(seen).toEqual(Array.from({ length: matrices }, (_, i) => (i + 1) / matrices))
    expect(existsSync(join(folder, `text_encoder/limn-${textEncoder}.safetensors`))).toBe(true)
    for (const name of ["encoderHiddenStates", "textEmbeds"]) {
      const cosine = cosineOf(found[name], exact[name])
      expect(cosine, name).toBeGreaterThan(least)
      expect(cosine, name).toBeLessThan(1)
    }
    const again = await encoded({ textEncoder, onQuantize: () => expect.unreachable("It is made already.") })
    expect(again).toEqual(found)
  })

  test("is float32 unless asked", async () => {
    expect(await encoded({})).toEqual(await encoded({ textEncoder: "float32" }))
  })

  test("is recorded in the settings and in the picture's file, where it was asked", async () => {
    const model = await load(folder, { device: "cpu", threads: 1, textEncoder: "int8" })
    const settings = resolveSettings(model, { prompt: "a cat", seed: 7, controls: [], ipImages: [] }, {})
    const plain = resolveSettings(
      { ...model, textPrecision: undefined },
      { prompt: "a cat", controls: [], ipImages: [] },
      {},
    )
    await model.close()
    expect(settings.textEncoder).toBe("int8")
    expect(plain).not.toHaveProperty("textEncoder")
    const text = pictureText(settings, 0)
    expect(readPictureSettings(text)).toMatchObject({ textEncoder: "int8" })
    const wrong = { limn: JSON.stringify({ ...JSON.parse(text.limn), textEncoder: "int5" }) }
    expect(() => readPictureSettings(wrong)).toThrow(FormatError)
  })

  test("cannot be in other numbers, nor can CLIP", async () => {
    const odd = load(folder, { device: "cpu", textEncoder: "int5" as "int8" })
    await expect(odd).rejects.toThrow(UsageError)
    await expect(odd).rejects.toThrow('textEncoder is "int5"; choose one of float32, int8, int4.')
    const clip = load(join(import.meta.dirname, "../../models/inkling"), {
      device: "cpu",
      textEncoder: "int8",
    })
    await expect(clip).rejects.toThrow(UsageError)
    await expect(clip).rejects.toThrow(/^textEncoder is for models that read texts with ChatGLM/)
  })

  test("stops rounding where it is told, and goes on there", async () => {
    rmSync(join(folder, "text_encoder/limn-int8.safetensors"), { force: true })
    const stop = new AbortController()
    const cut = load(folder, {
      device: "cpu",
      textEncoder: "int8",
      signal: stop.signal,
      onQuantize: ({ done }) => done === 9 && stop.abort(),
    })
    await expect(cut).rejects.toThrow(/abort/)
    expect(existsSync(join(folder, "text_encoder/limn-int8.safetensors"))).toBe(false)
    const seen: number[] = []
    await encoded({ textEncoder: "int8", onQuantize: ({ done }) => seen.push(done) })
    // The last of those that were done may not have reached the disk.
    const matrices = await matricesOf("int8")
    expect(seen).toEqual(Array.from({ length: matrices - 8 }, (_, i) => i + 9))
  })
})
