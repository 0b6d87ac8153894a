import { statfs } from "node:fs/promises"
import { join } from "node:path"
import { LimnError } from "../../../../ground/errors.ts"
import type { HubFile } from "../../../hub/listing.ts"
import { etagOf } from "../../../hub/listing.ts"
import type { FetchProgress } from "../../../hub/snapshot.ts"
import { fetchBlob, incompletePath } from "./blob.ts"
import type { RepoCache } from "./layout.ts"
import { placeFile, sizeAt, snapshotFolder } from "./layout.ts"
import { inParallel } from "./parallel.ts"
import type { HubSettings } from "./settings.ts"

/** Files of one commit that shall be here. */
export interface FilesOrder {
  readonly settings: HubSettings
  readonly cache: RepoCache
  readonly revision: string
  readonly commit: string
  readonly files: readonly HubFile[]
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: FetchProgress) => void
}

/** Files of the same bytes, which the cache keeps once. */
interface Blob {
  readonly path: string
  readonly files: readonly HubFile[]
  readonly size: number
  /** Whether its bytes are still to be fetched. */
  readonly isNew: boolean
}

/** Downloads at a time: enough to fill a line, few enough that each is soon done. */
const LANES = 4
/** Progress is told no more often than it can be seen. */
const TELL_MS = 100

/** Brings files into a commit's snapshot, those that are not there in the size that the Hub lists. */
export async function fetchFiles(order: FilesOrder): Promise<void> {
  const { settings, cache, revision, commit, signal } = order
  const { symlinks } = settings
  const folder = snapshotFolder(cache, commit)
  const blobs = await missingBlobs(order, folder)
  const fetched = blobs.filter(({ isNew }) => isNew)
  await checkSpace(order, fetched)
  const onBytes = teller(order, fetched)
  await inParallel(
    blobs,
    LANES,
    async ({ path, files, isNew }, signal) => {
      const [file] = files
      const below = file.path.split("/").map(encodeURIComponent).join("/")
      const address = `/${cache.repo}/resolve/${commit}/${below}`
      const request = { settings, repo: cache.repo, revision, path: address, signal }
      if (isNew) await fetchBlob({ file, request, path, onBytes })
      // The last one may move the bytes, since nothing else needs them then.
      for (const [i, { path: name }] of files.entries())
        await placeFile(path, join(folder, name), { symlinks, isNew: isNew && i === files.length - 1 })
    },
    signal,
  )
}

async function missingBlobs({ cache, files }: FilesOrder, folder: string): Promise<Blob[]> {
  const byEtag = new Map<string, HubFile[]>()
  for (const file of files)
    if ((await sizeAt(join(folder, file.path))) !== file.size)
      byEtag.set(etagOf(file), [...(byEtag.get(etagOf(file)) ?? []), file])
  return Promise.all(
    [...byEtag].map(async ([etag, files]) => {
      const path = join(cache.blobs, etag)
      const [{ size }] = files
      return { path, files, size, isNew: (await sizeAt(path)) !== size }
    }),
  )
}

async function checkSpace({ settings, cache }: FilesOrder, blobs: readonly Blob[]): Promise<void> {
  let needed = 0
  for (const { path, size } of blobs) needed += size - ((await sizeAt(incompletePath(path))) ?? 0)
  const { bavail, bsize } = await statfs(cache.blobs)
  if (needed > bavail * bsize)
    throw new LimnError(
      `${cache.repo} needs ${gigabytes(needed)} in ${settings.cache}, where ${gigabytes(bavail * bsize)} are free; make room, or set HF_HUB_CACHE to a folder on another disk.`,
    )
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`
}

/** Counts bytes, and tells of them now and then. */
function teller({ cache: { repo }, onProgress }: FilesOrder, blobs: readonly Blob[]) {
  const total = blobs.reduce((sum, { size }) => sum + size, 0)
  let done = 0
  let told = Number.NEGATIVE_INFINITY
  return (bytes: number) => {
    done += bytes
    const now = performance.now()
    if (now - told < TELL_MS && done < total) return
    told = now
    onProgress?.({ repo, state: "fetching", done, total })
  }
}
