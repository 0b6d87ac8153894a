import { mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, beforeEach } from "vitest"
import type { Ended, Given, InstalledLimn } from "./installed-limn.ts"
import { installLimn } from "./installed-limn.ts"

/** A whole Stable Diffusion folder, tiny and of random weights. */
export const tiny = join(import.meta.dirname, "../../golden/pipeline/model")

/** The command as users have it, in a folder of its own for each test. */
export interface LimnInAFolder {
  /** The folder of the test that runs. */
  readonly folder: string
  /** The path of the command. */
  readonly bin: string
  readonly limn: (args: readonly string[], given?: Given) => Promise<Ended>
  /** Draws with the tiny model. */
  readonly draw: (args: readonly string[], given?: Given) => Promise<Ended>
}

/** Installs limn before a file's tests, and makes and removes their folders. */
export function limnInAFolder(): LimnInAFolder {
  let installed: InstalledLimn
  let folder: string
  beforeAll(() => {
    installed = installLimn()
  }, 300_000)
  afterAll(() => installed.remove())
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "limn-cli-"))
  })
  afterEach(() => rmSync(folder, { recursive: true }))
  const limn: LimnInAFolder["limn"] = (args, given) => installed.run(args, { cwd: folder, ...given })
  return {
    get folder() {
      return folder
    },
    get bin() {
      return installed.bin
    },
    limn,
    draw: (args, given) => limn(["--model", tiny, "--steps", "2", "--device", "cpu", ...args], given),
  }
}
