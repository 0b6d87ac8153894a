import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import type { Value } from "../../src/graph/value.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { unetParameters } from "../../src/models/parameters/unet.ts"
import { unet } from "../../src/models/unet.ts"
import { checkAllRead, componentWeights, openComponent } from "../../src/pipelines/component.ts"
import { openSession } from "../../src/runtime/session.ts"
import { goldenFolder, goldenJson, goldenNames, goldenTensors, relativeDifference } from "./golden.ts"

/** The reference's names of the inputs, and ours. */
const inputs = {
  sample: "sample",
  timestep: "timestep",
  encoderHiddenStates: "encoder_hidden_states",
  textEmbeds: "text_embeds",
  timeIds: "time_ids",
}

describe.each(goldenNames("unet"))("unet %s", (name) => {
  const cases = goldenJson<{ file: string; variant: string | null }[]>(`unet/${name}/cases.json`)

  test.each(cases)("$file", async ({ file, variant }) => {
    const golden = goldenTensors(`unet/${name}/${file}`)
    const component = await openComponent(join(goldenFolder, "unet", name), { variant: variant ?? undefined })
    const config = unetConfig(component.config, name)
    const weights = componentWeights(component, unetParameters(config))()
    const values: Record<string, Value> = {}
    const feeds: Record<string, Tensor> = {}
    for (const [ours, theirs] of Object.entries(inputs)) {
      const t = golden[theirs]
      if (t === undefined) continue
      values[ours] = input(ours, "float32", t.shape)
      feeds[ours] = t
    }
    const { sample, timestep, encoderHiddenStates, ...added } = values
    const output = unet({ sample, timestep, encoderHiddenStates, ...added }, weights, config)
    checkAllRead(weights)
    const session = await openSession(toOnnx(build({ output })), { device: "cpu", threads: 1 })
    const result = await session.run(feeds)
    await session.close()
    expect(relativeDifference(result.output, golden.output)).toBeLessThan(1e-4)
  })
})
