import { expect, test } from "vitest"
import { cpuGenerator } from "../../src/ground/random/cpu-generator.ts"
import { float32, zeros } from "../../src/ground/tensor.ts"
import type { UNetConfig } from "../../src/models/config/unet.ts"
import { denoising } from "../../src/training/objectives/denoising.ts"

const batchSize = 4000
const steps = 1000

/** The timesteps of one large batch, as shares of all steps. */
async function drawn(timestepShift?: number): Promise<number[]> {
  const data = {
    latents: float32([1, 1, 1, 1], new Float32Array(1)),
    captions: { length: 1, row: () => ({ ids: [], length: 0, dropped: "" }), draw: () => 1 },
    states: {
      shape: [1, 1] as const,
      of: async () => zeros("float32", [batchSize, 1, 1]),
      close: async () => {},
    },
    alphasCumprod: Float32Array.from({ length: steps }, (_, t) => 1 - t / steps),
    prediction: "v_prediction" as const,
  }
  // A batch does not depend on the U-Net, only the loss does.
  const { batch } = denoising(data, {} as UNetConfig, { batchSize, conditionDropout: 0, timestepShift })
  const { timestep } = await batch(cpuGenerator(1))
  const drawn = Array.from(timestep.data, Number)
  for (const t of drawn) expect(Number.isInteger(t) && t >= 0 && t < steps).toBe(true)
  return drawn.map((t) => t / steps).sort((a, b) => a - b)
}

// The share u of an even draw becomes s u / (1 + (s - 1) u), so the middle of all draws is s / (1 + s).
test.each([
  [undefined, 1 / 2],
  [1, 1 / 2],
  [3, 3 / 4],
  [0.5, 1 / 3],
])("with a shift of %d, half of all steps are beyond %d", async (shift, middle) => {
  const shares = await drawn(shift)
  expect(Math.abs(shares[batchSize / 2] - middle)).toBeLessThan(0.03)
})
