import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from "node:fs"
import type { ServerResponse } from "node:http"
import { hostname } from "node:os"
import { basename, dirname, join } from "node:path"
import { describe, expect, it, vi } from "vitest"
import type { FetchProgress } from "../../src/runtime/hub/snapshot.ts"
import { cachedRepo } from "../../src/runtime/platform/node/index.ts"
import { goldenFolder, goldenJson } from "./golden.ts"
import {
  big,
  bigBlob,
  checksums,
  commit,
  contents,
  failure,
  faultBig,
  fetchAll,
  files,
  hubFixture,
  namesBelow,
  randomBytes,
} from "./hub-fixture.ts"
import type { Seen } from "./hub-server.ts"
import { filesIn, gitSha1, sendBytes, sha256 } from "./hub-server.ts"

const on = hubFixture()

/** Half of what was asked for, and an end. */
function cut(response: ServerResponse, { range }: Seen): void {
  const from = Number(/\d+/.exec(range ?? "0")?.[0])
  const rest = big.subarray(from)
  response.writeHead(from > 0 ? 206 : 200, {
    "content-length": rest.length,
    ...(from > 0 && { "content-range": `bytes ${from}-${big.length - 1}/${big.length}` }),
  })
  response.write(rest.subarray(0, rest.length / 2), () => setTimeout(() => response.destroy(), 100))
}

/** What huggingface_hub's cache holds after it fetched the pipeline's model as "main" and as "v1". */
type CacheEntry = { link: string } | { text: string } | { bytes: number }
const golden = goldenJson<{ entries: Record<string, CacheEntry> }>("hub-cache.json").entries
const model = filesIn(join(goldenFolder, "pipeline/model"))

describe("the cache and huggingface_hub's", () => {
  it("are the same", async () => {
    on.hub.repos["org/tiny"] = { files: model, commit }
    for (const revision of ["main", "v1"]) await fetchAll({ revision })
    const cache = join(on.home, "hub")
    const entries = namesBelow(cache).map((name) => [name, describeEntry(join(cache, name))])
    expect(Object.fromEntries(entries.filter(([name]) => !`${name}`.startsWith(".locks")))).toEqual(golden)
  })

  it("serve each other", async () => {
    const blobs = new Map(
      Object.values(model).flatMap((bytes) => [sha256, gitSha1].map((h) => [h(bytes), bytes])),
    )
    for (const [name, entry] of Object.entries(golden)) {
      const path = join(on.home, "hub", name)
      mkdirSync(dirname(path), { recursive: true })
      if ("link" in entry) symlinkSync(entry.link, path)
      else writeFileSync(path, "text" in entry ? entry.text : blobs.get(basename(path))!)
    }
    vi.stubEnv("HF_HUB_OFFLINE", "1")
    for (const revision of ["main", "v1", commit])
      expect(contents(await fetchAll({ revision }))).toEqual(checksums(model))
    expect(on.hub.seen).toEqual([])
  })

  function describeEntry(path: string): CacheEntry {
    if (lstatSync(path).isSymbolicLink()) return { link: readlinkSync(path) }
    return dirname(path) === on.blobs ? { bytes: lstatSync(path).size } : { text: readFileSync(path, "utf8") }
  }
})

describe("fetchSnapshot", () => {
  it("lays files out as huggingface_hub does", async () => {
    const folder = await fetchAll()
    expect(folder).toBe(join(on.repo, "snapshots", commit))
    expect(contents(folder)).toEqual(checksums(files))
    expect(readlinkSync(join(folder, "unet/weights.safetensors"))).toBe(`../../../blobs/${bigBlob}`)
    expect(readlinkSync(join(folder, "config.json"))).toBe(`../../blobs/${gitSha1(files["config.json"])}`)
    expect(readFileSync(join(on.repo, "refs/main"), "utf8")).toBe(commit)
    expect(readdirSync(on.blobs)).toHaveLength(4)
    expect(existsSync(on.lock)).toBe(false)
    expect(readFileSync(join(on.home, "hub/CACHEDIR.TAG"), "utf8")).toMatch(
      /^Signature: 8a477f597d28d172789f06886806bc55\n/,
    )
  })

  it("fetches only what is chosen, and may look into files to choose", async () => {
    const folder = await fetchAll({
      choose: async ({ folder, fetch }) => {
        await fetch("config.json")
        expect(readFileSync(join(folder, "config.json"), "utf8")).toBe("{}")
        return ["config.json", "vae/weights.safetensors"]
      },
    })
    expect(Object.keys(contents(folder)).sort()).toEqual(["config.json", "vae/weights.safetensors"])
    expect(on.downloads()).toHaveLength(2)
  })

  it("asks only for the list where all is here, and for nothing where the commit is named", async () => {
    await fetchAll()
    on.hub.seen.length = 0
    await fetchAll()
    expect(on.hub.seen.map(({ path }) => path)).toEqual(["/api/models/org/tiny/revision/main?blobs=true"])
    on.hub.seen.length = 0
    await fetchAll({ revision: commit })
    expect(on.hub.seen).toEqual([])
  })

  it("fetches what is new at a new commit, and keeps the old one", async () => {
    await fetchAll()
    const next = "d".repeat(40)
    on.hub.repos["org/tiny"] = { files: { ...files, "config.json": Buffer.from("[1]") }, commit: next }
    on.hub.seen.length = 0
    const folder = await fetchAll()
    expect(folder).toBe(join(on.repo, "snapshots", next))
    expect(on.downloads().map(({ path }) => path)).toEqual([`/cached/org/tiny/resolve/${next}/config.json`])
    expect((await cachedRepo("org/tiny")).snapshots.map(({ revisions }) => revisions)).toEqual([[], ["main"]])
  })

  it.each(["", "1"])("fetches the same bytes under two names once (links not wanted: %j)", async (links) => {
    vi.stubEnv("HF_HUB_DISABLE_SYMLINKS", links)
    on.hub.repos["org/tiny"] = { files: { "a.safetensors": big, "b.safetensors": big }, commit }
    const folder = await fetchAll()
    expect(on.downloads()).toHaveLength(1)
    expect(contents(folder)).toEqual({ "a.safetensors": bigBlob, "b.safetensors": bigBlob })
  })

  it.each([true, false])("works where links are not wanted (blob there: %s)", async (there) => {
    if (there) {
      await fetchAll()
      rmSync(join(on.repo, "snapshots"), { recursive: true })
    }
    vi.stubEnv("HF_HUB_DISABLE_SYMLINKS", "1")
    const folder = await fetchAll()
    expect(contents(folder)).toEqual(checksums(files))
    for (const name of namesBelow(folder)) expect(lstatSync(join(folder, name)).isSymbolicLink()).toBe(false)
    expect(readdirSync(on.blobs)).toHaveLength(there ? 4 : 0)
  })

  it("tells how far it is, from 0 to all bytes", async () => {
    const told: FetchProgress[] = []
    await fetchAll({ onProgress: (progress) => told.push(progress) })
    const total = Object.values(files).reduce((sum, { length }) => sum + length, 0)
    expect(told.at(-1)).toEqual({ repo: "org/tiny", state: "fetching", done: total, total })
    const counts = told.map(({ done }) => done)
    expect(counts).toEqual([...counts].sort((a, b) => a - b))
  })

  it("sends the token to the Hub, and not to where it redirects", async () => {
    vi.stubEnv("HF_TOKEN", "hf_secret")
    await fetchAll()
    const tokens = (host: string) =>
      new Set(on.hub.seen.filter((seen) => seen.host === host).map(({ authorization }) => authorization))
    expect(tokens("hub")).toEqual(new Set(["Bearer hf_secret"]))
    expect(tokens("cdn")).toEqual(new Set([undefined]))
  })
})

describe("what a cut leaves", () => {
  it("is taken up where the connection ended", async () => {
    faultBig(on.hub, 2, cut)
    const told: number[] = []
    const folder = await fetchAll({ onProgress: ({ done, total }) => told.push(done / total) })
    expect(contents(folder)).toEqual(checksums(files))
    const ranges = on.hub.seen
      .filter(({ host, path }) => host === "cdn" && path.includes("unet"))
      .map(({ range }) => range)
    expect(ranges).toEqual([undefined, "bytes=150000-", "bytes=225000-"])
    expect(Math.max(...told)).toBe(1)
  })

  it("is taken up by a later process", async () => {
    leave(big.subarray(0, 100_000))
    await fetchAll()
    expect(on.downloads().find(({ path }) => path.includes("unet"))?.range).toBe("bytes=100000-")
    expect(readFileSync(join(on.blobs, bigBlob)).equals(big)).toBe(true)
  })

  it("is all there is: only its name is missing", async () => {
    leave(big)
    await fetchAll()
    expect(on.downloads().some(({ path }) => path.includes("unet"))).toBe(false)
    expect(readFileSync(join(on.blobs, bigBlob)).equals(big)).toBe(true)
  })

  it.each([
    ["wrong", randomBytes(100_000, 3)],
    ["longer than the file", randomBytes(big.length + 5, 3)],
  ])("is fetched anew where it is %s", async (_, left) => {
    leave(left)
    await fetchAll()
    expect(readFileSync(join(on.blobs, bigBlob)).equals(big)).toBe(true)
  })

  it("is sent again by a server that knows no ranges", async () => {
    leave(big.subarray(0, 100_000))
    faultBig(on.hub, 1, (response) => sendBytes(response, big))
    const told: FetchProgress[] = []
    await fetchAll({ onProgress: (progress) => told.push(progress) })
    expect(readFileSync(join(on.blobs, bigBlob)).equals(big)).toBe(true)
    expect(told.at(-1)?.done).toBe(told.at(-1)?.total)
  })

  it("is taken up where the server falls silent", async () => {
    const inMs = setTimeout
    vi.useFakeTimers({ toFake: ["setTimeout", "clearTimeout"] })
    let silences = 0
    faultBig(on.hub, 1, (response) => {
      response.writeHead(200, { "content-length": big.length })
      response.write(big.subarray(0, 100_000), () =>
        inMs(() => vi.advanceTimersByTime(30_000 * ++silences), 200),
      )
    })
    try {
      await fetchAll()
    } finally {
      vi.useRealTimers()
    }
    expect(silences).toBe(1)
    expect(on.downloads().at(-1)?.range).toBe("bytes=100000-")
  })

  it("stays where the work is stopped, and the lock does not", async () => {
    const controller = new AbortController()
    faultBig(on.hub, 1, (response) => {
      response.writeHead(200, { "content-length": big.length })
      response.write(big.subarray(0, 200_000), () =>
        setTimeout(() => controller.abort(new Error("stop")), 100),
      )
    })
    await expect(fetchAll({ signal: controller.signal })).rejects.toThrow("stop")
    expect(readFileSync(join(on.blobs, `${bigBlob}.limn.incomplete`)).equals(big.subarray(0, 200_000))).toBe(
      true,
    )
    expect(existsSync(on.lock)).toBe(false)
    expect((await cachedRepo("org/tiny")).unfinishedBytes).toBe(200_000)
    await fetchAll()
    expect(on.downloads().at(-1)?.range).toBe("bytes=200000-")
  })

  function leave(bytes: Uint8Array): void {
    mkdirSync(on.blobs, { recursive: true })
    writeFileSync(join(on.blobs, `${bigBlob}.limn.incomplete`), bytes)
  }
})

describe("without the Hub", () => {
  it("says that it must not ask, where something is missing", async () => {
    vi.stubEnv("HF_HUB_OFFLINE", "1")
    expect(await failure()).toMatch(/org\/tiny is not whole in .*hub, and HF_HUB_OFFLINE forbids to fetch it/)
    expect(on.hub.seen).toEqual([])
  })

  it("takes what is whole in the cache, and asks nothing", async () => {
    const folder = await fetchAll()
    on.hub.seen.length = 0
    vi.stubEnv("HF_HUB_OFFLINE", "1")
    expect(await fetchAll()).toBe(folder)
    expect(await fetchAll({ revision: commit })).toBe(folder)
    expect(on.hub.seen).toEqual([])
    rmSync(join(on.blobs, bigBlob))
    expect(await failure()).toMatch(/not whole/)
  })

  it("takes what is there without a list, as older releases of huggingface_hub leave it", async () => {
    const folder = await fetchAll()
    rmSync(join(on.repo, "trees"), { recursive: true })
    vi.stubEnv("HF_HUB_OFFLINE", "1")
    expect(await fetchAll()).toBe(folder)
    expect(await failure({ choose: async () => ["more.json"] })).toMatch(/not whole/)
  })

  it("takes what is whole in the cache where the Hub does not answer", async () => {
    const folder = await fetchAll()
    on.hub.fault = (_, response) => response.writeHead(503).end() !== undefined
    expect(await fetchAll()).toBe(folder)
    vi.stubEnv("HF_ENDPOINT", "http://127.0.0.1:9")
    expect(await fetchAll()).toBe(folder)
  })
})

describe("two that fetch the same", () => {
  it("fetch it once", async () => {
    const states: string[] = []
    const onProgress = ({ state }: FetchProgress) => void states.push(state)
    const [one, other] = await Promise.all([fetchAll({ onProgress }), fetchAll({ onProgress })])
    expect(one).toBe(other)
    expect(on.downloads()).toHaveLength(4)
    expect(states).toContain("waiting")
  })

  it.each([
    ["of a process that is gone", { pid: 2 ** 22 + 1, host: hostname() }, 0],
    ["of another machine that is silent", { pid: 1, host: "elsewhere" }, 120],
    ["of a process that has another's number", { pid: process.pid, host: hostname() }, 120],
    ["that was never written", undefined, 120],
  ])("do not wait for a lock %s", async (_, holder, ageSeconds) => {
    hold(holder, ageSeconds)
    await fetchAll()
    expect(existsSync(on.lock)).toBe(false)
    expect(readdirSync(dirname(on.lock))).toEqual([])
  })

  it("can be stopped while they wait", async () => {
    hold({ pid: process.pid, host: hostname() }, 0)
    const signal = AbortSignal.timeout(300)
    await expect(fetchAll({ signal })).rejects.toThrow("aborted due to timeout")
    expect(existsSync(on.lock)).toBe(true)
    expect(on.downloads()).toEqual([])
  })

  function hold(holder: object | undefined, ageSeconds: number): void {
    mkdirSync(dirname(on.lock), { recursive: true })
    writeFileSync(on.lock, holder === undefined ? "" : JSON.stringify(holder))
    const then = Date.now() / 1000 - ageSeconds
    utimesSync(on.lock, then, then)
  }
})
