import { existsSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import { sizeOf } from "../../src/ground/shape.ts"
import { unetConfig } from "../../src/models/config/unet.ts"
import { unetParameters } from "../../src/models/parameters/unet.ts"
import { unet } from "../../src/models/unet.ts"
import { checkAllRead, componentWeights, openComponent } from "../../src/pipelines/component.ts"
import { openSession } from "../../src/runtime/session.ts"
import { relativeDifference, tensorsIn } from "../unit/golden.ts"
import { memoryNow } from "./memory.ts"

/** Made by `python reference/full_unet.py FOLDER`: the U-Net of Stable Diffusion 1.4 with random weights, 3.4 GB. */
const folder = process.env.LIMN_FULL_DIR ?? ""
const caseFile = join(folder, "case-64x64.safetensors")
const present = existsSync(caseFile)
if (!present) console.log("Skipped: set LIMN_FULL_DIR to a folder that reference/full_unet.py has filled.")

describe.skipIf(!present)("Stable Diffusion 1.4's U-Net at full size", () => {
  test.each([
    { lowMemory: true, anonymous: 0.5 },
    { lowMemory: false, anonymous: 6 },
  ])("agrees with torch to 1e-3, lowMemory $lowMemory", async ({ lowMemory, anonymous }) => {
    const golden = tensorsIn(caseFile)
    const before = memoryNow().anonymous
    const component = await openComponent(folder)
    const config = unetConfig(component.config, folder)
    const specs = unetParameters(config)
    expect(specs.reduce((sum, { shape }) => sum + sizeOf(shape), 0)).toBe(859_520_964)
    const weights = componentWeights(component, specs)()
    const names = {
      sample: "sample",
      timestep: "timestep",
      encoderHiddenStates: "encoder_hidden_states",
    } as const
    const value = (name: keyof typeof names) => input(name, "float32", golden[names[name]].shape)
    const output = unet(
      {
        sample: value("sample"),
        timestep: value("timestep"),
        encoderHiddenStates: value("encoderHiddenStates"),
      },
      weights,
      config,
    )
    checkAllRead(weights)

    const opened = performance.now()
    const session = await openSession(toOnnx(build({ output })), { device: "cpu", lowMemory })
    const loaded = performance.now()
    const held = memoryNow().anonymous - before
    const result = await session.run({
      sample: golden.sample,
      timestep: golden.timestep,
      encoderHiddenStates: golden.encoder_hidden_states,
    })
    const ran = performance.now()
    await session.close()
    const difference = relativeDifference(result.output, golden.output)
    console.log(
      `lowMemory ${lowMemory}: loaded in ${((loaded - opened) / 1000).toFixed(1)} s holding ${held.toFixed(2)} GB beside the file, ` +
        `ran in ${((ran - loaded) / 1000).toFixed(1)} s, largest difference ${difference.toExponential(1)}`,
    )
    expect(difference).toBeLessThan(1e-3)
    expect(held).toBeLessThan(anonymous)
  })
})
