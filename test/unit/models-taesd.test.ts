import { existsSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import { decodeTaesd, encodeTaesd } from "../../src/models/taesd.ts"
import { checkAllRead } from "../../src/pipelines/component.ts"
import { openTaesd } from "../../src/pipelines/taesd.ts"
import { openSession } from "../../src/runtime/session.ts"
import { goldenFolder, goldenNames, goldenTensors, relativeDifference } from "./golden.ts"

const shared = join(import.meta.dirname, "../../../shared/data/taesd")

/** Runs both halves over the golden's image and latents and holds them to what diffusers gave. */
async function expectGolden(file: string, encoderPath: string, decoderPath: string): Promise<void> {
  const golden = goldenTensors(file)
  const [encoder, decoder] = [
    await openTaesd(encoderPath, "encoder"),
    await openTaesd(decoderPath, "decoder"),
  ]
  const [encoderWeights, decoderWeights] = [encoder.weights(), decoder.weights()]
  const image = input("image", "float32", golden.image.shape)
  const latents = input("latents", "float32", golden.latents.shape)
  const encoded = encodeTaesd(image, encoderWeights, encoder.config)
  const decoded = decodeTaesd(latents, decoderWeights, decoder.config)
  checkAllRead(encoderWeights)
  checkAllRead(decoderWeights)
  // Two graphs: the halves' files may have tensors of the same names.
  for (const [outputs, name] of [
    [{ encoded }, "image"],
    [{ decoded }, "latents"],
  ] as const) {
    const session = await openSession(toOnnx(build(outputs)), { device: "cpu", threads: 1 })
    const result = await session.run({ [name]: golden[name] })
    await session.close()
    for (const key of Object.keys(outputs))
      expect(relativeDifference(result[key], golden[key])).toBeLessThan(1e-4)
  }
}

const random = join(goldenFolder, "taesd/random")
test.each(goldenNames("taesd/random", /^case/))("a random tiny autoencoder, %s", (file) =>
  expectGolden(join("taesd/random", file), random, random),
)

describe.skipIf(!existsSync(shared))("published weights (skipped where ../shared/data/taesd is not)", () => {
  test.each(["taesd", "taesdxl"])("%s in its author's files", (name) =>
    expectGolden(
      `taesd/published/${name}.safetensors`,
      join(shared, `${name}_encoder.safetensors`),
      join(shared, `${name}_decoder.safetensors`),
    ),
  )
})
