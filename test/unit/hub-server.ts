import { createHash } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import type { IncomingMessage, ServerResponse } from "node:http"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join, relative } from "node:path"

/** A repository that a test's Hub has. */
export interface ServedRepo {
  /** Bytes of every file, by path. */
  readonly files: Readonly<Record<string, Uint8Array>>
  /** The commit that `main` means. */
  readonly commit: string
  /** Files that git keeps itself; all others are in large file storage. */
  readonly isSmall?: (path: string) => boolean
}

/** A request that came, as far as tests look at it. */
export interface Seen {
  /** "hub", or "cdn" where large files lie. */
  readonly host: "hub" | "cdn"
  readonly path: string
  readonly range?: string
  readonly authorization?: string
}

/** Answers a request in place of the Hub where it returns true. */
export type Fault = (seen: Seen, response: ServerResponse, bytes: Uint8Array | undefined) => boolean

/** A Hub on this machine. */
export interface HubServer {
  readonly endpoint: string
  readonly repos: Record<string, ServedRepo>
  readonly seen: Seen[]
  fault: Fault | undefined
  /** Changes the list of files before it is sent. */
  edit: ((answer: HubAnswer) => void) | undefined
  close(): Promise<void>
}

interface HubAnswer {
  sha: string
  siblings: { rfilename: string; size: number; blobId: string; lfs?: { sha256: string; size: number } }[]
}

export const sha256 = (bytes: Uint8Array) => createHash("sha256").update(bytes).digest("hex")
export const gitSha1 = (bytes: Uint8Array) =>
  createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex")

/** Text files and configurations, as `.gitattributes` of the Hub has them. */
const usuallySmall = (path: string) => /\.(json|txt|md)$/.test(path)

/** All files below a folder, by path. */
export function filesIn(folder: string): Record<string, Uint8Array> {
  const entries = readdirSync(folder, { recursive: true, withFileTypes: true })
  const paths = entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name))
  return Object.fromEntries(paths.map((path) => [relative(folder, path), readFileSync(path)]))
}

/**
 * A server that answers as the Hub does: the list of a revision's files; small files by a redirect on the same host;
 * large files by a redirect to another, with the headers that name commit, checksum and size.
 */
export async function startHub(repos: Record<string, ServedRepo> = {}): Promise<HubServer> {
  const hub: HubServer = { endpoint: "", repos, seen: [], fault: undefined, edit: undefined, close }
  const servers = (["hub", "cdn"] as const).map((host) =>
    createServer((request, response) => answer(hub, host, addresses.cdn, request, response)),
  )
  async function close() {
    await Promise.all(
      servers.map((server) => {
        server.closeAllConnections()
        return new Promise((resolve) => server.close(resolve))
      }),
    )
  }
  const [endpoint, cdn] = await Promise.all(
    servers.map(
      (server) =>
        new Promise<string>((resolve) => {
          server.listen(0, "127.0.0.1", () =>
            resolve(`http://127.0.0.1:${(server.address() as AddressInfo).port}`),
          )
        }),
    ),
  )
  const addresses = { cdn }
  return Object.assign(hub, { endpoint })
}

function answer(
  hub: HubServer,
  host: Seen["host"],
  cdn: string,
  request: IncomingMessage,
  response: ServerResponse,
): void {
  const { range, authorization } = request.headers
  const path = decodeURIComponent(request.url ?? "")
  const seen: Seen = { host, path, range, authorization }
  hub.seen.push(seen)
  const [, repo, commit, name] = /^\/(?:cached\/)?([^/]+\/[^/]+)\/resolve\/([^/]+)\/(.*)$/.exec(path) ?? []
  const served = hub.repos[repo]
  const bytes = served?.files[name]
  if (hub.fault?.(seen, response, bytes)) return
  const api = /^\/api\/models\/([^/]+\/[^/]+)\/revision\/(.+)\?blobs=true$/.exec(path)
  if (api !== null) return void sendListing(hub, api[1], api[2], response)
  if (served === undefined) return void refuse(response, 401, "RepoNotFound")
  if (commit !== served.commit) return void refuse(response, 404, "RevisionNotFound")
  if (bytes === undefined) return void refuse(response, 404, "EntryNotFound")
  if (host === "cdn" || path.startsWith("/cached/")) return void sendBytes(response, bytes, range)
  const small = (served.isSmall ?? usuallySmall)(name)
  response.writeHead(small ? 307 : 302, {
    "x-repo-commit": commit,
    "x-linked-size": bytes.length,
    "x-linked-etag": `"${small ? gitSha1(bytes) : sha256(bytes)}"`,
    etag: `"${small ? gitSha1(bytes) : sha256(bytes)}"`,
    location: small ? `/cached${request.url}` : `${cdn}${request.url}`,
  })
  response.end()
}

function sendListing(hub: HubServer, repo: string, revision: string, response: ServerResponse): void {
  const served = hub.repos[repo]
  if (served === undefined) return void refuse(response, 401, "RepoNotFound")
  if (!["main", "v1", served.commit].includes(revision)) return void refuse(response, 404, "RevisionNotFound")
  const siblings = Object.entries(served.files).map(([rfilename, bytes]) => {
    const small = (served.isSmall ?? usuallySmall)(rfilename)
    const lfs = { sha256: sha256(bytes), size: bytes.length, pointerSize: 134 }
    return { rfilename, size: bytes.length, blobId: gitSha1(bytes), ...(!small && { lfs }) }
  })
  const list: HubAnswer = { sha: served.commit, siblings }
  hub.edit?.(list)
  response.setHeader("content-type", "application/json")
  response.end(JSON.stringify(list))
}

/** The bytes of a file, or of the range that is asked for. */
export function sendBytes(response: ServerResponse, bytes: Uint8Array, range?: string): void {
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? "")?.[1] ?? 0)
  if (range !== undefined && from >= bytes.length) {
    response.writeHead(416, { "content-range": `bytes */${bytes.length}` }).end()
    return
  }
  response.writeHead(range === undefined ? 200 : 206, {
    "content-length": bytes.length - from,
    ...(range !== undefined && { "content-range": `bytes ${from}-${bytes.length - 1}/${bytes.length}` }),
  })
  response.end(bytes.subarray(from))
}

/** A refusal with the code that tells the Hub's reasons apart. */
export function refuse(response: ServerResponse, status: number, code?: string): void {
  response.writeHead(status, code === undefined ? {} : { "x-error-code": code }).end()
}
