import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { homedir, tmpdir } from "node:os"
import { join, posix, win32 } from "node:path"
import { afterAll, describe, expect, it } from "vitest"
import { fetchingState } from "../../src/cli/fetching.ts"
import { FormatError } from "../../src/ground/errors.ts"
import { formatTree, parseListing, parseTree } from "../../src/runtime/hub/listing.ts"
import { looksLikeRepo } from "../../src/runtime/hub/names.ts"
import { inParallel } from "../../src/runtime/platform/node/hub/parallel.ts"
import { PassingError, patiently } from "../../src/runtime/platform/node/hub/patience.ts"
import { hubSettings } from "../../src/runtime/platform/node/hub/settings.ts"
import { dice, fuzzRounds } from "./dice.ts"

describe("settings from the environment", () => {
  const home = mkdtempSync(join(tmpdir(), "limn-settings-"))
  afterAll(() => rmSync(home, { recursive: true }))
  mkdirSync(join(home, "logged-in"))
  writeFileSync(join(home, "logged-in/token"), "hf_file\n")

  it("are huggingface_hub's where nothing is said", () => {
    expect(hubSettings({})).toEqual({
      endpoint: "https://huggingface.co",
      cache: join(homedir(), ".cache/huggingface/hub"),
      token: hubSettings({}).token,
      offline: false,
      symlinks: true,
    })
  })

  it.each([
    [{ XDG_CACHE_HOME: "/x" }, { cache: "/x/huggingface/hub" }],
    [{ HF_HOME: "/h", XDG_CACHE_HOME: "/x" }, { cache: "/h/hub" }],
    [{ HF_HOME: "~/h" }, { cache: join(homedir(), "h/hub") }],
    [{ HF_HOME: "$DISK/h", DISK: "/d" }, { cache: "/d/h/hub" }],
    [{ HF_HOME: "/h", HUGGINGFACE_HUB_CACHE: "/old" }, { cache: "/old" }],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: the environment's own form.
    [{ HUGGINGFACE_HUB_CACHE: "/old", HF_HUB_CACHE: "${DISK}/new", DISK: "/d" }, { cache: "/d/new" }],
    [{ HF_ENDPOINT: "https://hub.test/" }, { endpoint: "https://hub.test" }],
    [{ HF_HUB_OFFLINE: "1" }, { offline: true }],
    [{ HF_HUB_OFFLINE: "yes" }, { offline: true }],
    [{ HF_HUB_OFFLINE: "0" }, { offline: false }],
    [{ TRANSFORMERS_OFFLINE: "TRUE" }, { offline: true }],
    [{ HF_HUB_DISABLE_SYMLINKS: "on" }, { symlinks: false }],
    [{ HF_TOKEN: " hf_env\n", HF_HOME: join(home, "logged-in") }, { token: "hf_env" }],
    [{ HF_HOME: join(home, "logged-in") }, { token: "hf_file" }],
    [{ HF_TOKEN: "", HF_TOKEN_PATH: join(home, "logged-in/token"), HF_HOME: home }, { token: "hf_file" }],
    [{ HF_HOME: home }, { token: undefined }],
    [{ HF_HOME: join(home, "logged-in"), HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" }, { token: undefined }],
  ])("%j", (env, expected) => {
    expect(hubSettings(env)).toMatchObject(expected)
  })
})

describe("listings", () => {
  const sha = "a".repeat(40)
  const answer = {
    sha,
    siblings: [
      { rfilename: "b/config.json", size: 5, blobId: "b".repeat(40) },
      {
        rfilename: "a.safetensors",
        size: 9,
        blobId: "c".repeat(40),
        lfs: { sha256: "d".repeat(64), size: 9 },
      },
    ],
  }

  it("are kept, and are the same again", () => {
    const listing = parseListing(answer, "org/tiny")
    const kept = parseTree(JSON.parse(formatTree(listing)), sha, "org/tiny")
    expect(kept).toEqual({ commit: sha, files: new Map([...listing.files].sort()) })
  })

  it("kept in a form that is not known are none", () => {
    for (const json of [
      null,
      3,
      {},
      { format_version: 2, files: {} },
      { format_version: 1, files: { a: {} } },
    ])
      expect(parseTree(json, sha, "org/tiny")).toBeUndefined()
  })

  it("never lead out of the repository, and never fail but by a FormatError", () => {
    const { below, pick } = dice(7)
    const rounds = fuzzRounds(5000)
    const bits = ["..", ".", "/", "\\", "C:", ":", "a", "b.json", "\0", "~", " ", "é", "//", "con", "%2e%2e"]
    let accepted = 0
    for (let n = 0; n < rounds; n++) {
      const rfilename = Array.from({ length: 1 + below(5) }, () => pick(bits)).join("")
      const damaged = structuredClone(answer) as Record<string, unknown> & typeof answer
      damaged.siblings[0].rfilename = rfilename
      if (below(4) === 0) damaged[pick(["sha", "siblings"])] = pick<unknown>([null, 3, "x", [], {}, [null]])
      try {
        const { files } = parseListing(damaged, "org/tiny")
        accepted++
        for (const name of files.keys())
          for (const path of [posix, win32]) {
            const root = path.resolve("/cache/snapshot")
            if (!path.resolve(root, name).startsWith(root + path.sep)) expect.fail(`${name} leads out`)
          }
      } catch (error) {
        if (!(error instanceof FormatError)) throw error
      }
    }
    expect(accepted).toBeGreaterThan(rounds / 40)
  })
})

it.each([
  ["org/name", true],
  ["CompVis/stable-diffusion-v1-4", true],
  ["name", false],
  ["./name", false],
  ["../name", false],
  ["/org/name", false],
  ["~/name", false],
  ["org/name/", false],
  ["a/b/c", false],
  ["C:\\name", false],
])("%j may be a name on the Hub: %s", (text, may) => {
  expect(looksLikeRepo(text)).toBe(may)
})

describe("work that fails in passing", () => {
  const failing = (failures: number) => {
    let left = failures
    return async () => {
      if (left-- > 0) throw new PassingError("It failed; try again.", { waitMs: 0 })
      return "done"
    }
  }

  it("is done again, so often and no more", async () => {
    expect(await patiently(failing(2), { tries: 3 })).toBe("done")
    await expect(patiently(failing(3), { tries: 3 })).rejects.toThrow("It failed")
    expect(await patiently(failing(9), { tries: 3, progressed: () => true })).toBe("done")
  })

  it("is left where it should wait for too long, or fails for good", async () => {
    const late = async () => {
      throw new PassingError("It is busy.", { waitMs: 3_600_000 })
    }
    await expect(patiently(late, { tries: 3 })).rejects.toThrow("It is busy")
    let calls = 0
    const broken = async () => {
      calls++
      throw new FormatError("It is broken.")
    }
    await expect(patiently(broken, { tries: 3 })).rejects.toThrow("It is broken")
    expect(calls).toBe(1)
  })
})

describe("work side by side", () => {
  const pause = () => new Promise((resolve) => setTimeout(resolve, 5))

  it("is done for every item, so many at a time", async () => {
    let now = 0
    let most = 0
    const done: number[] = []
    await inParallel([1, 2, 3, 4, 5, 6, 7], 3, async (item) => {
      most = Math.max(most, ++now)
      await pause()
      now--
      done.push(item)
    })
    expect(most).toBe(3)
    expect(done.sort()).toEqual([1, 2, 3, 4, 5, 6, 7])
  })

  it("ends with the first failure, when all that began has ended", async () => {
    const ended: unknown[] = []
    const work = inParallel([1, 2, 3, 4], 2, async (item, signal) => {
      if (item === 1) throw new Error("the first")
      await pause()
      ended.push(signal.aborted)
      signal.throwIfAborted()
    })
    await expect(work).rejects.toThrow("the first")
    expect(ended).toEqual([true])
  })
})

it("the progress line says what is fetched", () => {
  const fetching = { repo: "org/tiny", state: "fetching", done: 5, total: 10 } as const
  expect(fetchingState(fetching)).toEqual({ label: "fetching", done: 5, total: 10, unit: "bytes" })
  expect(fetchingState({ ...fetching, done: 10 })).toEqual({ label: "loading" })
  expect(fetchingState({ ...fetching, state: "waiting" }).label).toMatch(/^waiting for another process/)
})
