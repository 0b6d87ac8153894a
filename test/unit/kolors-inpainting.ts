import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"
import { encodeSafetensors } from "../../src/formats/safetensors.ts"
import { goldenFolder, goldenTensors, tensorsIn } from "./golden.ts"

/** The tiny Kolors with a U-Net for inpainting, in a folder that goes away after the tests. */
export function kolorsInpainting(): string {
  const folder = mkdtempSync(join(tmpdir(), "limn-kolors-"))
  afterAll(() => rmSync(folder, { recursive: true }))
  cpSync(join(goldenFolder, "pipeline-kolors/model"), folder, { recursive: true })
  const [config, weights] = ["config.json", "diffusion_pytorch_model.fp16.safetensors"].map((name) =>
    join(folder, "unet", name),
  )
  const tensors = { ...tensorsIn(weights), ...goldenTensors("kolors-inpaint/unet-nine.safetensors") }
  writeFileSync(weights, Buffer.concat(encodeSafetensors(new Map(Object.entries(tensors)))))
  writeFileSync(config, JSON.stringify({ ...JSON.parse(readFileSync(config, "utf8")), in_channels: 9 }))
  return folder
}
