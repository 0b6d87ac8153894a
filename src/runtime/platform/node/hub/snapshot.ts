import { join } from "node:path"
import { FormatError, LimnError, messageOf } from "../../../../ground/errors.ts"
import type { HubFile, HubListing } from "../../../hub/listing.ts"
import { parseListing } from "../../../hub/listing.ts"
import { checkRepoName, checkRevision, DEFAULT_REVISION, isCommit } from "../../../hub/names.ts"
import type { RemoteFolder, SnapshotOrder } from "../../../hub/snapshot.ts"
import { fetchFiles } from "./files.ts"
import type { RepoCache } from "./layout.ts"
import {
  filesBelow,
  makeCache,
  readRef,
  readTree,
  repoCache,
  sizeAt,
  snapshotFolder,
  writeRef,
  writeTree,
} from "./layout.ts"
import { withLock } from "./lock.ts"
import { PassingError, patiently } from "./patience.ts"
import { request } from "./request.ts"
import type { HubSettings } from "./settings.ts"
import { hubSettings } from "./settings.ts"

/** An order with its settings, and the places of its repository in the cache. */
interface Job extends SnapshotOrder {
  readonly revision: string
  readonly settings: HubSettings
  readonly cache: RepoCache
}

/** How often the list is asked for: its failure says little more at the third time. */
const LIST_TRIES = 3

/** Brings the files of a repository here, or finds them in the cache. The folder that they lie in. */
export async function fetchSnapshot(order: SnapshotOrder): Promise<string> {
  const { repo, revision = DEFAULT_REVISION, signal } = order
  checkRepoName(repo)
  checkRevision(revision)
  const settings = hubSettings()
  const cache = repoCache(settings, repo)
  try {
    return await bring({ ...order, revision, settings, cache })
  } catch (error) {
    signal?.throwIfAborted()
    throw isSystemError(error) ? diskError(error, repo, settings) : error
  }
}

async function bring(job: Job): Promise<string> {
  const { repo, revision, cache, settings } = job
  const known = await readRef(cache, revision)
  const kept = known === undefined ? undefined : await keptSnapshot(job, known)
  if (kept === undefined && settings.offline)
    throw new LimnError(
      `${repo} is not whole in ${settings.cache}, and HF_HUB_OFFLINE forbids to fetch it; run it once without.`,
    )
  if (kept === undefined) return fetchListed(job, await listingOf(job))
  if (settings.offline || isCommit(revision)) return kept
  const current = await askListing(job, 1).catch((error) => {
    // The Hub does not answer: what is here is what it had last.
    if (error instanceof PassingError) return undefined
    throw error
  })
  return current === undefined || current.commit === known ? kept : fetchListed(job, current)
}

/**
 * The snapshot of a commit where all that is chosen of it is here; asks nobody. Where nobody may be asked, what is
 * chosen among the files that are here will do: another copy of the weights than would be fetched.
 */
async function keptSnapshot(job: Job, commit: string): Promise<string | undefined> {
  const folder = snapshotFolder(job.cache, commit)
  const tree = await readTree(job.cache, commit)
  if (tree !== undefined && (await isKept(job, folder, tree.files))) return folder
  if (tree !== undefined && !job.settings.offline) return undefined
  const here = new Map((await filesBelow(folder)).map((name) => [name, tree?.files.get(name)]))
  const isWhole = await isKept(job, folder, here).catch((error) => {
    if (error instanceof LimnError) return false
    throw error
  })
  return isWhole ? folder : undefined
}

/** Whether all that is chosen among files is in a folder, in the sizes that are known. */
async function isKept(
  job: Job,
  folder: string,
  files: ReadonlyMap<string, HubFile | undefined>,
): Promise<boolean> {
  const check = async (name: string) => {
    const size = await sizeAt(join(folder, name))
    if (size === undefined || size !== (files.get(name)?.size ?? size)) throw new NotKept(name)
  }
  try {
    const names = new Set(files.keys())
    for (const name of await job.choose({ folder, names, fetch: check })) await check(name)
    return true
  } catch (error) {
    // Whatever seems wrong otherwise may be mended by fetching, and is said again if not.
    if (error instanceof NotKept || (error instanceof LimnError && !job.settings.offline)) return false
    throw error
  }
}

/** Says that a file is not here, or not whole. */
class NotKept extends LimnError {}

async function fetchListed(job: Job, listing: HubListing): Promise<string> {
  const { repo, revision, cache, settings, signal, onProgress } = job
  const folder = snapshotFolder(cache, listing.commit)
  const bring = (names: readonly string[], follow?: typeof onProgress) => {
    const files = names.map((name) => fileOf(listing, name, repo))
    const { commit } = listing
    return fetchFiles({ settings, cache, revision, commit, files, signal, onProgress: follow })
  }
  const remote: RemoteFolder = {
    folder,
    names: new Set(listing.files.keys()),
    fetch: (name) => bring([name]),
  }
  await makeCache(settings, cache)
  const onWait = () => onProgress?.({ repo, state: "waiting", done: 0, total: 0 })
  return withLock(
    cache.lock,
    async () => {
      await writeTree(cache, listing)
      await bring(await job.choose(remote), onProgress)
      await writeRef(cache, revision, listing.commit)
      return folder
    },
    { signal, onWait },
  )
}

function fileOf({ files }: HubListing, name: string, repo: string): HubFile {
  const file = files.get(name)
  if (file === undefined)
    throw new LimnError(`${repo} has no file ${name}, which it should have; use another revision.`)
  return file
}

/** The files of the commit that is asked for; a commit's never change. */
async function listingOf(job: Job): Promise<HubListing> {
  const kept = isCommit(job.revision) ? await readTree(job.cache, job.revision) : undefined
  return kept ?? askListing(job, LIST_TRIES)
}

async function askListing({ settings, repo, revision, signal }: Job, tries: number): Promise<HubListing> {
  const path = `/api/models/${repo}/revision/${encodeURIComponent(revision)}?blobs=true`
  const read = () => request({ settings, repo, revision, path, signal }, ({ chunks }) => textOf(chunks))
  const text = await patiently(read, { tries, signal })
  try {
    return parseListing(JSON.parse(text), repo)
  } catch (error) {
    if (error instanceof SyntaxError)
      throw new FormatError(`${settings.endpoint} does not answer as the Hub does; check HF_ENDPOINT.`)
    throw error
  }
}

async function textOf(chunks: AsyncIterable<Uint8Array>): Promise<string> {
  const parts: Uint8Array[] = []
  for await (const chunk of chunks) parts.push(chunk)
  return Buffer.concat(parts).toString("utf8")
}

function isSystemError(error: unknown): error is NodeJS.ErrnoException {
  return error instanceof Error && "syscall" in error && !(error instanceof LimnError)
}

function diskError(error: NodeJS.ErrnoException, repo: string, { cache }: HubSettings): LimnError {
  const full = ["ENOSPC", "EDQUOT"].includes(error.code ?? "")
  const what = full
    ? `There is no space left for ${repo} in ${cache}`
    : `Cannot keep ${repo} in ${cache}: ${messageOf(error)}`
  return new LimnError(`${what}; make room, or set HF_HUB_CACHE to another folder.`, { cause: error })
}
