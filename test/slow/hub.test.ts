import { existsSync, lstatSync, mkdtempSync, readdirSync, readFileSync, realpathSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it, vi } from "vitest"
import type { LoadOptions } from "../../src/pipelines/load.ts"
import { load } from "../../src/pipelines/load.ts"
import { textToImage } from "../../src/pipelines/text-to-image.ts"
import { goldenFolder } from "../unit/golden.ts"
import { commit, useHub } from "../unit/hub-fixture.ts"
import type { HubServer } from "../unit/hub-server.ts"
import { filesIn, refuse, startHub } from "../unit/hub-server.ts"
import type { Given, InstalledLimn } from "./processes/installed-limn.ts"
import { installLimn } from "./processes/installed-limn.ts"

/** A whole Stable Diffusion folder, tiny and of random weights. */
const plain = join(goldenFolder, "pipeline/model")

let hub: HubServer
let home: string
beforeEach(async () => {
  home = mkdtempSync(join(tmpdir(), "limn-hub-"))
  hub = await startHub({ "org/tiny": { files: filesIn(plain), commit } })
})
afterEach(async () => {
  await hub.close()
  rmSync(home, { recursive: true })
})

const downloads = () => hub.seen.filter(({ host, path }) => host === "cdn" || path.startsWith("/cached/"))
const snapshot = () => join(home, `hub/models--org--tiny/snapshots/${commit}`)

describe("a model of the Hub", () => {
  beforeEach(() => useHub(hub.endpoint, home))
  afterEach(() => vi.unstubAllEnvs())

  it("draws the picture that its folder draws, and again without the Hub", async () => {
    const expected = await picture(plain)
    const online = await picture("org/tiny", { revision: "v1" })
    expect(online.pixels).toEqual(expected.pixels)
    expect(online.settings).toEqual({ ...expected.settings, model: "org/tiny" })
    // What ONNX Runtime refuses is not what it was given.
    const weights = join(snapshot(), "unet/diffusion_pytorch_model.safetensors")
    expect(lstatSync(weights).isSymbolicLink()).toBe(true)
    expect(realpathSync(weights)).toContain(join("models--org--tiny", "blobs"))

    await hub.close()
    vi.stubEnv("HF_HUB_OFFLINE", "1")
    expect((await picture("org/tiny", { revision: "v1" })).pixels).toEqual(expected.pixels)
    expect(downloads()).toHaveLength(12)
  })

  async function picture(path: string, options: LoadOptions = {}) {
    const model = await load(path, { device: "cpu", threads: 1, ...options })
    const { image, settings } = await textToImage(model, { prompt: "a red heart", seed: 7, steps: 2 })
    await model.close()
    return { pixels: image.pixels, settings }
  }
})

describe("limn", () => {
  let installed: InstalledLimn
  beforeAll(() => {
    installed = installLimn()
  }, 300_000)
  afterAll(() => installed.remove())

  const limn = (args: readonly string[], given: Given = {}) => {
    const env = { HF_HOME: home, HF_ENDPOINT: hub.endpoint, HF_TOKEN: "", HF_HUB_OFFLINE: "", ...given.env }
    return installed.run(args, { cwd: home, ...given, env })
  }
  const draw = (name: string, given?: Given) =>
    limn(["a cat", "--seed", "7", "--steps", "1", "--device", "cpu", "--model", name], given)

  it("draws with a model of the Hub, and says what of it is cached", async () => {
    expect(await draw("org/tiny")).toEqual({ code: 0, stdout: "cat-7.png\n", stderr: "" })
    const { code, stdout } = await limn(["info", "org/tiny"])
    expect(code).toBe(0)
    expect(stdout).toMatch(/^org\/tiny\nA model of the Hub, cached in .*models--org--tiny\n/)
    expect(stdout).toMatch(/main +cccccccccc +12 +681 kB/)
    const json = JSON.parse((await limn(["info", "org/tiny", "--json"])).stdout)
    expect(json).toMatchObject({
      kind: "repo",
      snapshots: [{ commit, revisions: ["main"], folder: snapshot() }],
    })
  })

  it.each<[string, string[], number, RegExp]>([
    ["a name that cannot be", ["--model", "org/na--me"], 2, /is no name of a model on the Hub/],
    ["a model that is not there", ["--model", "org/none"], 1, /The Hub has no model org\/none/],
    ["a revision that is not there", ["--model", "org/tiny", "--revision", "v9"], 1, /has no revision v9/],
  ])("refuses %s in one sentence", async (_, args, code, message) => {
    const ended = await limn(["a cat", ...args])
    expect(ended).toEqual({ code, stdout: "", stderr: expect.stringMatching(message) })
    expect(ended.stderr).toMatch(/^limn: [^\n]+\.\n$/)
  })

  it("says of a gated model, of no Hub and of an empty cache what to do", async () => {
    hub.fault = ({ path }, response) => {
      if (path.startsWith("/api/")) return false
      refuse(response, 401, "GatedRepo")
      return true
    }
    expect(await draw("org/tiny")).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/accept them at .*HF_TOKEN/),
    })
    const offline = await draw("org/tiny", { env: { HF_HUB_OFFLINE: "1" } })
    expect(offline).toMatchObject({ code: 1, stderr: expect.stringMatching(/HF_HUB_OFFLINE forbids/) })
    expect(await limn(["info", "org/other"])).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/no model of that name in .*--model org\/other fetches it/),
    })
  })

  it("fetches once where two processes ask at the same time", async () => {
    const ended = await Promise.all(["a", "b"].map((out) => limn(drawInto(out))))
    for (const { code, stderr } of ended) expect({ code, stderr }).toEqual({ code: 0, stderr: "" })
    expect(downloads()).toHaveLength(12)
  })

  it.each(["SIGKILL", "SIGINT"] as const)("goes on where %s ended it", async (signal) => {
    // The U-Net comes to its half, and then no further.
    const unet = readFileSync(join(plain, "unet/diffusion_pytorch_model.safetensors"))
    const half = unet.length >> 1
    let stop = () => {}
    hub.fault = ({ host, path, range }, response) => {
      if (host !== "cdn" || !path.includes("unet") || range !== undefined) return false
      response.writeHead(200, { "content-length": unet.length })
      response.write(unet.subarray(0, half), () => setTimeout(stop, 500))
      return true
    }
    const stopped = await draw("org/tiny", { onStart: (child) => (stop = () => void child.kill(signal)) })
    expect(stopped).toEqual({ code: signal === "SIGINT" ? 130 : 137, stdout: "", stderr: "" })
    expect(existsSync(join(home, "hub/.locks/models--org--tiny/limn.lock"))).toBe(signal === "SIGKILL")
    expect(await draw("org/tiny")).toMatchObject({ code: 0, stdout: "cat-7.png\n" })
    expect(downloads().at(-1)?.range).toBe(`bytes=${half}-`)
    expect(
      readdirSync(join(home, "hub/models--org--tiny/blobs")).filter((name) => /incomplete/.test(name)),
    ).toEqual([])
  })

  function drawInto(out: string): string[] {
    return ["a cat", "--steps", "1", "--device", "cpu", "--model", "org/tiny", "--out", `${out}/`]
  }
})
