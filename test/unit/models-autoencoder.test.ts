import { join } from "node:path"
import { describe, expect, test } from "vitest"
import { build, toOnnx } from "../../src/graph/build.ts"
import { input } from "../../src/graph/node.ts"
import { decodeLatents, encodeMoments } from "../../src/models/autoencoder-kl.ts"
import { autoencoderConfig } from "../../src/models/config/autoencoder.ts"
import { renameAutoencoderKey } from "../../src/models/names.ts"
import { autoencoderParameters } from "../../src/models/parameters/autoencoder.ts"
import { checkAllRead, componentWeights, openComponent } from "../../src/pipelines/component.ts"
import { openSession } from "../../src/runtime/session.ts"
import { goldenFolder, goldenNames, goldenTensors, relativeDifference } from "./golden.ts"

describe.each(goldenNames("vae"))("autoencoder %s", (name) => {
  test.each(goldenNames(`vae/${name}`, /^case/))("%s", async (file) => {
    const golden = goldenTensors(`vae/${name}/${file}`)
    const component = await openComponent(join(goldenFolder, "vae", name), { rename: renameAutoencoderKey })
    const config = autoencoderConfig(component.config, name)
    const weights = componentWeights(component, autoencoderParameters(config))()
    const image = input("image", "float32", golden.image.shape)
    const latents = input("latents", "float32", golden.latents.shape)
    const moments = encodeMoments(image, weights, config)
    const decoded = decodeLatents(latents, weights, config)
    checkAllRead(weights)
    const session = await openSession(toOnnx(build({ moments, decoded })), { device: "cpu", threads: 1 })
    const result = await session.run({ image: golden.image, latents: golden.latents })
    await session.close()
    expect(relativeDifference(result.moments, golden.moments)).toBeLessThan(1e-4)
    expect(relativeDifference(result.decoded, golden.decoded)).toBeLessThan(1e-4)
  })
})
