import { cpSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, expect, it } from "vitest"
import { runProcess } from "./processes/installed-limn.ts"

const root = join(import.meta.dirname, "../..")
const model = join(root, "test/golden/pipeline/model")

/** The examples in a checkout of their own, so that what they write is in nobody's way. */
const folder = mkdtempSync(join(tmpdir(), "limn-examples-"))
cpSync(join(root, "package.json"), join(folder, "package.json"))
cpSync(join(root, "examples"), join(folder, "examples"), { recursive: true })
for (const linked of ["src", "node_modules"]) symlinkSync(join(root, linked), join(folder, linked))
afterAll(() => rmSync(folder, { recursive: true }))

/** What each is given, so that tiny random weights serve, and something that it must print. */
const runs: Readonly<Record<string, readonly [argument: string, said: RegExp]>> = {
  "01-a-picture.ts": [model, /red-heart\.png: 64x64/],
  "02-follow-and-stop.ts": [model, /step 2 of 20/],
  "03-compare-schedulers.ts": [model, /DPM\+\+ 2M Karras +[\d.]+ of 255 off/],
  "04-a-graph-and-its-gradient.ts": ["", /step 100: loss 0\.0/],
  "05-read-a-checkpoint.ts": [join(model, "unet/diffusion_pytorch_model.safetensors"), /324 tensors/],
  "06-over-a-picture.ts": [model, /half-an-apple\.png: 64x64/],
  "07-vary-enlarge-extend.ts": [model, /large\.png: 128x128\nwide\.png: 104x64/],
  "08-follow-edges.ts": [join(root, "models"), /follow-a-blue-car\.png follows inkling-canny/],
}

it("every example is run here", () => {
  expect(Object.keys(runs)).toEqual(
    readdirSync(join(root, "examples")).filter((name) => name.endsWith(".ts")),
  )
})

it.each(Object.entries(runs))("%s runs", async (name, [argument, said]) => {
  const args = ["--import", "tsx", "--conditions=source", join("examples", name), argument]
  const ended = await runProcess(process.execPath, args, { cwd: folder })
  expect(ended).toEqual({ code: 0, stdout: expect.stringMatching(said), stderr: "" })
})
