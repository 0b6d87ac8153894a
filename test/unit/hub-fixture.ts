import { lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs"
import type { ServerResponse } from "node:http"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterEach, beforeEach, expect, vi } from "vitest"
import { LimnError } from "../../src/ground/errors.ts"
import type { SnapshotOrder } from "../../src/runtime/hub/snapshot.ts"
import { fetchSnapshot } from "../../src/runtime/platform/node/index.ts"
import { dice } from "./dice.ts"
import type { HubServer, Seen } from "./hub-server.ts"
import { sha256, startHub } from "./hub-server.ts"

export const commit = "c".repeat(40)
/** A large file, whose fetching the tests disturb. */
export const big = randomBytes(300_000, 1)
export const bigBlob = sha256(big)
export const files = {
  "config.json": Buffer.from("{}"),
  "tokenizer/vocab.json": Buffer.from('{"a": 0}'),
  "unet/weights.safetensors": big,
  "vae/weights.safetensors": randomBytes(5000, 2),
}

/** A Hub with the repository org/tiny, and an empty cache, for one test. */
export interface HubFixture {
  readonly hub: HubServer
  /** HF_HOME. */
  readonly home: string
  /** The repository's folder in the cache. */
  readonly repo: string
  readonly blobs: string
  readonly lock: string
  /** Requests of files' bytes. */
  downloads(): Seen[]
}

/** Makes a fixture for each test of a file: the object is the same, what is in it changes. */
export function hubFixture(): HubFixture {
  const fixture = {} as { -readonly [K in keyof HubFixture]: HubFixture[K] }
  beforeEach(async () => {
    const hub = await startHub({ "org/tiny": { files, commit } })
    const home = mkdtempSync(join(tmpdir(), "limn-hub-"))
    const repo = join(home, "hub/models--org--tiny")
    const lock = join(home, "hub/.locks/models--org--tiny/limn.lock")
    const downloads = () => hub.seen.filter(({ host, path }) => host === "cdn" || path.startsWith("/cached/"))
    Object.assign(fixture, { hub, home, repo, blobs: join(repo, "blobs"), lock, downloads })
    useHub(hub.endpoint, home)
  })
  afterEach(async () => {
    vi.unstubAllEnvs()
    await fixture.hub.close()
    rmSync(fixture.home, { recursive: true })
  })
  return fixture
}

/** Sets the environment to a Hub and a home of its cache, until it is restored. */
export function useHub(endpoint: string, home: string): void {
  for (const name of Object.keys(process.env))
    if (/^HF_|HUB_|_OFFLINE$/.test(name)) vi.stubEnv(name, undefined)
  vi.stubEnv("HF_HOME", home)
  vi.stubEnv("HF_ENDPOINT", endpoint)
}

/** Fetches every file of org/tiny, unless told otherwise. */
export function fetchAll(order: Partial<SnapshotOrder> = {}): Promise<string> {
  return fetchSnapshot({ repo: "org/tiny", choose: async ({ names }) => [...names], ...order })
}

/** What fetching throws, once it is known to be one sentence. */
export async function failure(
  order: Partial<SnapshotOrder> = {},
  kind: typeof LimnError = LimnError,
): Promise<string> {
  const error = await fetchAll(order).then(
    () => expect.unreachable("it was fetched"),
    (thrown: unknown) => thrown as Error,
  )
  expect(error).toBeInstanceOf(kind)
  expect(error.message).toMatch(/^[^\n]+\.$/)
  return error.message
}

/** Faults the first requests of the large file, `times` of them. */
export function faultBig(
  hub: HubServer,
  times: number,
  fault: (response: ServerResponse, seen: Seen) => void,
): void {
  hub.fault = (seen, response) => {
    if (seen.host !== "cdn" || !seen.path.includes("unet") || times-- <= 0) return false
    fault(response, seen)
    return true
  }
}

export function randomBytes(length: number, seed: number): Uint8Array {
  const { below } = dice(seed)
  return Uint8Array.from({ length }, () => below(256))
}

/** The checksum of every file below a folder, through links. */
export function contents(folder: string): Record<string, string> {
  return checksums(
    Object.fromEntries(namesBelow(folder).map((name) => [name, readFileSync(join(folder, name))])),
  )
}

/** Names of the files and links below a folder. */
export function namesBelow(folder: string): string[] {
  const names = readdirSync(folder, { recursive: true }) as string[]
  return names.filter((name) => !lstatSync(join(folder, name)).isDirectory()).sort()
}

export function checksums(all: Readonly<Record<string, Uint8Array>>): Record<string, string> {
  return Object.fromEntries(Object.entries(all).map(([name, bytes]) => [name, sha256(bytes)]))
}
