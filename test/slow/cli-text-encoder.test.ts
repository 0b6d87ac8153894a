import { cpSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeAll, expect, it } from "vitest"
import { decodePng } from "../../src/formats/png.ts"
import { goldenFolder } from "../unit/golden.ts"
import type { InstalledLimn } from "./processes/installed-limn.ts"
import { installLimn } from "./processes/installed-limn.ts"

let installed: InstalledLimn
const folder = mkdtempSync(join(tmpdir(), "limn-cli-"))
beforeAll(() => {
  installed = installLimn()
  // A copy, since integers are kept beside the checkpoint.
  cpSync(join(goldenFolder, "pipeline-kolors/model"), join(folder, "kolors"), { recursive: true })
}, 300_000)
afterAll(() => {
  installed.remove()
  rmSync(folder, { recursive: true })
})

const limn = (args: readonly string[]) =>
  installed.run([...args, "--model", "kolors", "--device", "cpu"], { cwd: folder })
const pixelsOf = (name: string) => decodePng(readFileSync(join(folder, name)), name).data

it("limn again draws the same pixels with the text encoder in integers, unless told otherwise", async () => {
  const drawn = await limn(["a cat", "--steps", "2", "--seed", "7", "--text-encoder", "int4"])
  expect(drawn).toEqual({ code: 0, stdout: "cat-7.png\n", stderr: "" })
  expect(await limn(["again", "cat-7.png"])).toEqual({ code: 0, stdout: "cat-7-2.png\n", stderr: "" })
  expect(pixelsOf("cat-7-2.png")).toEqual(pixelsOf("cat-7.png"))
  await limn(["again", "cat-7.png", "--text-encoder", "float32", "--out", "exact.png"])
  expect(pixelsOf("exact.png")).not.toEqual(pixelsOf("cat-7.png"))
})

it("limn names the numbers that a text encoder can be kept in", async () => {
  const { code, stderr } = await limn(["a cat", "--text-encoder", "int5"])
  expect(code).toBe(2)
  expect(stderr).toContain('--text-encoder is "int5"; choose one of float32, int8, int4')
})
