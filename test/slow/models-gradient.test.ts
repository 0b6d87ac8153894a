import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { gradient } from "../../src/graph/gradient.ts"
import { input } from "../../src/graph/node.ts"
import { add, exp, meanSquaredError, mul, scale, slice } from "../../src/graph/ops/index.ts"
import type { Value } from "../../src/graph/value.ts"
import type { Weights } from "../../src/graph/weights.ts"
import { inputWeights } from "../../src/graph/weights.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { toFloat32 } from "../../src/ground/tensor.ts"
import { decodeLatents, encodeMoments } from "../../src/models/autoencoder-kl.ts"
import { clipText } from "../../src/models/clip-text.ts"
import { autoencoderConfig } from "../../src/models/config/autoencoder.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { unet } from "../../src/models/unet.ts"
import { openSession } from "../../src/runtime/session.ts"
import { goldenJson, goldenTensors } from "../unit/golden.ts"

/** The network's outputs that the loss compares with `target`, from its inputs by the golden file's names. */
type Forward = (inputs: Readonly<Record<string, Value>>, w: Weights, config: unknown) => Value

const models: Record<string, { model: string; weights: string; forward: Forward }> = {
  unet: {
    model: "unet/four-levels",
    weights: "diffusion_pytorch_model.safetensors",
    forward: ({ sample, timestep, encoder_hidden_states }, w, config) =>
      unet(
        { sample, timestep, encoderHiddenStates: encoder_hidden_states },
        w,
        unetConfig(config, "config.json"),
      ),
  },
  "clip-text": {
    model: "clip-text/end-within",
    weights: "model.safetensors",
    forward: ({ input_ids }, w, config) =>
      clipText(input_ids, w, clipTextConfig(config, "config.json")).lastHiddenState,
  },
  vae: {
    model: "vae/two-levels",
    weights: "diffusion_pytorch_model.safetensors",
    forward: ({ image, noise }, w, json) => {
      const config = autoencoderConfig(json, "config.json")
      const moments = encodeMoments(image, w, config)
      const channels = config.latentChannels
      const deviation = exp(scale(slice(moments, 1, channels, 2 * channels), 0.5))
      return decodeLatents(add(slice(moments, 1, 0, channels), mul(deviation, noise)), w, config)
    },
  },
}

describe.each(Object.entries(models))("gradient of %s", (name, { model, weights, forward }) => {
  test("by every weight and input is torch autograd's", { timeout: 60_000 }, async () => {
    const golden = Object.entries(goldenTensors(`gradient/${name}.safetensors`))
    const wanted = golden
      .filter(([key]) => key.startsWith("d."))
      .map(([key, t]) => [key.slice(2), t] as const)
    const given = golden.filter(([key]) => key !== "loss" && !key.startsWith("d."))
    const parameters = Object.entries(goldenTensors(join(model, weights)))

    const inputs = Object.fromEntries(given.map(([key, t]) => [key, input(key, t.dtype, t.shape)]))
    const w = inputWeights(new Map(parameters.map(([key, t]) => [key, t.shape])))
    const config = goldenJson(join(model, "config.json"))
    const loss = meanSquaredError(forward(inputs, w, config), inputs.target)
    const gradients = gradient(
      loss,
      wanted.map(([key]) => inputs[key] ?? w.get(key)),
    )
    const outputs = Object.fromEntries(wanted.map(([key], i) => [`d.${key}`, gradients[i]]))
    const session = await openSession(toOnnx(build({ loss, ...outputs })), { device: "cpu", threads: 1 })
    const result = await session.run(Object.fromEntries([...given, ...parameters]))
    await session.close()

    const expectedLoss = Number(goldenTensors(`gradient/${name}.safetensors`).loss.data[0])
    expect(Number(result.loss.data[0]) / expectedLoss).toBeCloseTo(1, 5)
    const all = Math.max(...wanted.map(([, t]) => largest(t)))
    for (const [key, reference] of wanted) {
      // A gradient that cancels to nothing has no digits of its own; it is held to the size of the others.
      const scale = Math.max(largest(reference), 1e-4 * all)
      expect(largestDifference(result[`d.${key}`], reference) / scale, key).toBeLessThan(1e-3)
    }
  })
})

function largest(t: Tensor): number {
  return toFloat32(t).data.reduce((most, v) => Math.max(most, Math.abs(v)), 0)
}

function largestDifference(a: Tensor, b: Tensor): number {
  expect(a.shape).toEqual(b.shape)
  const x = toFloat32(a).data
  return toFloat32(b).data.reduce((most, v, i) => Math.max(most, Math.abs(v - x[i])), 0)
}
