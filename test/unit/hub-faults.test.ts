import { existsSync, mkdirSync, readdirSync, symlinkSync, writeFileSync } from "node:fs"
import { join } from "node:path"
import { describe, expect, it, vi } from "vitest"
import { FormatError, UsageError } from "../../src/ground/errors.ts"
import { big, bigBlob, failure, faultBig, fetchAll, hubFixture, randomBytes } from "./hub-fixture.ts"
import type { HubServer } from "./hub-server.ts"
import { gitSha1, refuse, sendBytes } from "./hub-server.ts"

const on = hubFixture()

describe("a server that", () => {
  it.each([429, 503])("is busy (%d) is asked again when it says", async (status) => {
    faultBig(on.hub, 2, (response) => void response.writeHead(status, { "retry-after": "0" }).end())
    await fetchAll()
    expect(on.downloads().filter(({ path }) => path.includes("unet"))).toHaveLength(3)
  })

  it("is busy for long is named, with the time", async () => {
    on.hub.fault = (_, response) => response.writeHead(429, { "retry-after": "600" }).end() !== undefined
    expect(await failure()).toMatch(/too busy to give org\/tiny \(status 429\); try again in 600 seconds/)
  })

  it("sends other bytes than it lists is not believed", async () => {
    faultBig(on.hub, 9, (response) => sendBytes(response, randomBytes(big.length, 4)))
    expect(await failure({}, FormatError)).toMatch(
      /unet\/weights\.safetensors of org\/tiny came with other bytes/,
    )
    expect(readdirSync(on.blobs).filter((name) => name.startsWith(bigBlob))).toEqual([])
    expect(existsSync(join(on.repo, "refs"))).toBe(false)
  })

  it.each([
    ["more", 1000, true],
    ["more, without saying so first", 1000, false],
    ["less", -1000, true],
  ])("sends %s than it lists is not believed", async (_, more, says) => {
    const bytes = randomBytes(big.length + more, 5)
    faultBig(on.hub, 9, (response) => {
      if (says) response.setHeader("content-length", bytes.length)
      response.write(bytes)
      response.end()
    })
    expect(await failure({}, FormatError)).toMatch(
      /lists unet\/weights\.safetensors of org\/tiny with 300000 bytes/,
    )
    expect(existsSync(join(on.blobs, bigBlob))).toBe(false)
  })

  it.each([
    ["../evil.json"],
    ["unet/../../evil.json"],
    ["/etc/evil.json"],
    ["..\\evil.json"],
    ["unet\\evil.json"],
    ["C:/evil.json"],
    ["unet/C:evil.json"],
    ["unet//evil.json"],
    ["evil\0.json"],
  ])("lists %j is not believed", async (rfilename) => {
    on.hub.edit = ({ siblings }) =>
      void siblings.push({ rfilename, size: 1, blobId: gitSha1(Buffer.from("x")) })
    expect(await failure({}, FormatError)).toMatch(/would lie outside its folder; do not use this model/)
    expect(existsSync(join(on.home, "hub"))).toBe(false)
  })

  it.each<[string, NonNullable<HubServer["edit"]>]>([
    ["a commit that is a path", (answer) => Object.assign(answer, { sha: "../../../evil" })],
    ["a checksum that is a path", (answer) => Object.assign(answer.siblings[0], { blobId: "../../evil" })],
    ["a size below 0", (answer) => Object.assign(answer.siblings[0], { size: -1 })],
    ["no files", (answer) => Object.assign(answer, { siblings: undefined })],
  ])("answers with %s is not the Hub", async (_, edit) => {
    on.hub.edit = edit
    expect(await failure({}, FormatError)).toMatch(/list of the files of org\/tiny is wrong/)
  })

  it("answers with a page is not the Hub", async () => {
    on.hub.fault = (_, response) => response.end("<html>") !== undefined
    expect(await failure({}, FormatError)).toMatch(/does not answer as the Hub does; check HF_ENDPOINT/)
  })

  it("redirects without an end is left", async () => {
    on.hub.fault = ({ path }, response) => response.writeHead(302, { location: path }).end() !== undefined
    expect(await failure()).toMatch(/redirects without an end/)
  })
})

describe("a refusal says what to do:", () => {
  it.each([
    [
      undefined,
      401,
      /only for those who accept its terms: accept them at http.*\/org\/tiny, and set HF_TOKEN/,
    ],
    ["hf_mine", 403, /the account of your token has no access yet: ask for it at http.*\/org\/tiny/],
  ])("a gated model, token %s", async (token, status, message) => {
    vi.stubEnv("HF_TOKEN", token)
    on.hub.fault = ({ path }, response) => {
      if (path.startsWith("/api/")) return false
      refuse(response, status, "GatedRepo")
      return true
    }
    expect(await failure()).toMatch(message)
  })

  it("no such model, or a private one", async () => {
    expect(await failure({ repo: "org/none" })).toMatch(
      /The Hub has no model org\/none, or none that all may see/,
    )
  })

  it("no such revision", async () => {
    expect(await failure({ revision: "v9" })).toMatch(
      /org\/tiny has no revision v9; see those that it has at http/,
    )
  })

  it("a file that is listed and not there", async () => {
    on.hub.edit = ({ siblings }) => void (siblings[0].rfilename = "other.json")
    expect(await failure()).toMatch(/lists .*other\.json, and does not have it/)
  })

  it("a token that is wrong", async () => {
    vi.stubEnv("HF_TOKEN", "hf_old")
    on.hub.fault = (_, response) => {
      refuse(response, 401)
      return true
    }
    expect(await failure()).toMatch(/does not know your token; set HF_TOKEN/)
  })

  it("a name that cannot be", async () => {
    for (const repo of ["org/a--b", "org/a..b", "org/a.git", "org", "../x", "a/b/c", "org/.."])
      expect(await failure({ repo }, UsageError)).toMatch(/is no name of a model on the Hub/)
    for (const revision of ["../x", "/etc", "a\\b", "a//b", "", "a b", ".."])
      expect(await failure({ revision }, UsageError)).toMatch(/is no revision/)
  })

  it("an address that is none", async () => {
    vi.stubEnv("HF_ENDPOINT", "hub.test")
    expect(await failure({}, UsageError)).toMatch(/HF_ENDPOINT is "hub.test"/)
  })
})

describe("the disk", () => {
  it("is asked for room before anything is fetched", async () => {
    on.hub.edit = ({ siblings }) => {
      const lfs = siblings.find((file) => file.lfs)?.lfs
      if (lfs) lfs.size = 1e15
    }
    expect(await failure()).toMatch(/org\/tiny needs 1000000\.\d GB in/)
    expect(on.downloads()).toEqual([])
  })

  it.runIf(existsSync("/dev/full"))("may be full after all", async () => {
    mkdirSync(on.blobs, { recursive: true })
    symlinkSync("/dev/full", join(on.blobs, `${bigBlob}.limn.incomplete`))
    expect(await failure()).toMatch(/no space left for org\/tiny in .*hub; make room, or set HF_HUB_CACHE/)
    expect(existsSync(on.lock)).toBe(false)
  })

  it("may not be one to write to", async () => {
    writeFileSync(join(on.home, "hub"), "a file")
    expect(await failure()).toMatch(/Cannot keep org\/tiny in .*hub: /)
  })
})
