import { expect, test } from "vitest"
import { chooseDevice } from "../../src/runtime/device.ts"
import { likelyAccelerators } from "../../src/runtime/platform/node/index.ts"

const accelerators = likelyAccelerators()

test("cpu is always there", async () => {
  expect(await chooseDevice("cpu")).toBe("cpu")
})

test("auto is the CPU or an accelerator that may be there", async () => {
  expect(["cpu", ...accelerators]).toContain(await chooseDevice("auto"))
})

test.skipIf(accelerators.length > 0)("auto costs nothing without an accelerator", async () => {
  const start = performance.now()
  expect(await chooseDevice("auto")).toBe("cpu")
  expect(performance.now() - start).toBeLessThan(50)
})

test.skipIf(accelerators.includes("cuda"))(
  "a device that is not there is told, with those that are",
  async () => {
    await expect(chooseDevice("cuda")).rejects.toThrow(
      /^The device cuda does not work on this machine: install onnxruntime-node with ONNXRUNTIME_NODE_INSTALL=cuda12 set, or choose one of those that do \((webgpu, )?cpu\)\.$/,
    )
  },
)
