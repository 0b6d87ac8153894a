import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import { toHalfPrecision } from "../../src/graph/passes/precision.ts"
import { print } from "../../src/graph/print.ts"
import type { Value } from "../../src/graph/value.ts"
import { clipText } from "../../src/models/clip-text.ts"
import { clipTextConfig } from "../../src/models/config/clip-text.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { sinusoids } from "../../src/models/layers/embedding.ts"
import { clipTextParameters } from "../../src/models/parameters/clip-text.ts"
import { unetParameters } from "../../src/models/parameters/unet.ts"
import { unet } from "../../src/models/unet.ts"
import { componentWeights, openComponent } from "../../src/pipelines/component.ts"
import { openSession } from "../../src/runtime/session.ts"
import { goldenFolder, goldenTensors, relativeDifference } from "../unit/golden.ts"

/** Rounding to eleven bits, and its way through a tiny network. */
const tolerance = 0.02

async function runHalf(outputs: Record<string, Value>, feeds: ReturnType<typeof goldenTensors>) {
  const session = await openSession(toOnnx(build(toHalfPrecision(outputs))), { device: "cpu", threads: 1 })
  const result = await session.run(feeds)
  await session.close()
  return result
}

describe("half precision", () => {
  test("computes angles in float32, and takes and gives float32", () => {
    const timestep = input("timestep", "float32", [2])
    const embedding = sinusoids(timestep, 4, { flipSinToCos: true, freqShift: 0 })
    expect(print(build(toHalfPrecision({ embedding })))).toMatchInlineSnapshot(`
      "input timestep: float32[2]
      reshape = reshape(timestep, shape=[2, 1]): float32[2, 1]
      mul = mul(reshape, constant float32[1, 2]): float32[2, 2]
      cos = cos(mul): float32[2, 2]
      cast = cast(cos, to=float16): float16[2, 2]
      sin = sin(mul): float32[2, 2]
      cast_1 = cast(sin, to=float16): float16[2, 2]
      concat = concat(cast, cast_1, axis=1): float16[2, 4]
      cast_2 = cast(concat, to=float32): float32[2, 4]
      output embedding = cast_2"
    `)
  })

  test.each([
    ["linear-projection", "6x10"],
    ["linear-projection", "6x10-fp16"],
    ["linear-projection", "6x10-bf16"],
    ["conv-projection", "10x14"],
  ])("unet %s on %s agrees with float32", async (name, size) => {
    const golden = goldenTensors(`unet/${name}/case-${size}.safetensors`)
    const component = await openComponent(join(goldenFolder, "unet", name), { variant: size.split("-")[1] })
    const config = unetConfig(component.config, name)
    const feeds = {
      sample: golden.sample,
      timestep: golden.timestep,
      encoderHiddenStates: golden.encoder_hidden_states,
    }
    const [sample, timestep, encoderHiddenStates] = Object.entries(feeds).map(([key, t]) =>
      input(key, "float32", t.shape),
    )
    const weights = componentWeights(component, unetParameters(config))()
    const output = unet({ sample, timestep, encoderHiddenStates }, weights, config)
    const result = await runHalf({ output }, feeds)
    expect(result.output.dtype).toBe("float32")
    expect(relativeDifference(result.output, golden.output)).toBeLessThan(tolerance)
  })

  test("CLIP's mask stays finite", async () => {
    const name = "quick-gelu-legacy-end"
    const golden = goldenTensors(`clip-text/${name}/case.safetensors`)
    const component = await openComponent(join(goldenFolder, "clip-text", name))
    const config = clipTextConfig(component.config, name)
    const weights = componentWeights(component, clipTextParameters(config))()
    const { lastHiddenState } = clipText(input("ids", "int64", golden.input_ids.shape), weights, config)
    const result = await runHalf({ lastHiddenState }, { ids: golden.input_ids })
    expect(relativeDifference(result.lastHiddenState, golden.last_hidden_state)).toBeLessThan(tolerance)
  })
})
