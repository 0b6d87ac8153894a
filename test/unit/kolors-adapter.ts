import { cpSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll } from "vitest"
import { goldenFolder } from "./golden.ts"

/** The tiny Kolors' IP-Adapter as Kwai-Kolors/Kolors-IP-Adapter-Plus lies, in a folder that goes away after the tests. */
export function kolorsAdapter(): string {
  const folder = mkdtempSync(join(tmpdir(), "limn-kolors-ip-"))
  afterAll(() => rmSync(folder, { recursive: true }))
  const name = "ip_adapter_plus_general.bin"
  cpSync(join(goldenFolder, "kolors-controls", name), join(folder, name))
  cpSync(join(goldenFolder, "ip-adapter/kolors/image_encoder"), join(folder, "image_encoder"), {
    recursive: true,
  })
  return folder
}
