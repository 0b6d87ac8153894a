import { randomUUID } from "node:crypto"
import { copyFile, mkdir, readdir, readFile, rename, stat, symlink, writeFile } from "node:fs/promises"
import { dirname, join, relative } from "node:path"
import type { HubListing } from "../../../hub/listing.ts"
import { formatTree, parseTree } from "../../../hub/listing.ts"
import { isCommit } from "../../../hub/names.ts"
import { writeFileAtomic } from "../files.ts"
import { exists } from "../machine.ts"
import type { HubSettings } from "./settings.ts"

/**
 * Where the cache keeps what of a repository; the layout of huggingface_hub 1.x, so that both use one cache:
 *
 *     models--org--name/refs/main               the commit that main was when last asked
 *     models--org--name/trees/COMMIT.json       all files of that commit, with sizes and checksums
 *     models--org--name/snapshots/COMMIT/...    the files by their names: links to
 *     models--org--name/blobs/CHECKSUM          their bytes
 *     .locks/models--org--name/                 locks between processes
 */
export interface RepoCache {
  readonly repo: string
  readonly folder: string
  readonly blobs: string
  readonly lock: string
}

const TAG = `Signature: 8a477f597d28d172789f06886806bc55
# This file is a cache directory tag created by huggingface_hub.
# For information about cache directory tags, see:
#\thttps://bford.info/cachedir/
`

/** The places of a repository, whether or not anything is there. */
export function repoCache({ cache }: HubSettings, repo: string): RepoCache {
  const name = `models--${repo.replaceAll("/", "--")}`
  const folder = join(cache, name)
  return { repo, folder, blobs: join(folder, "blobs"), lock: join(cache, ".locks", name, "limn.lock") }
}

/** The folder of a commit's files. */
export function snapshotFolder({ folder }: RepoCache, commit: string): string {
  return join(folder, "snapshots", commit)
}

/** Makes the folders that are written to, and the tag by which backups leave a cache out. */
export async function makeCache({ cache }: HubSettings, { blobs, lock }: RepoCache): Promise<void> {
  await mkdir(blobs, { recursive: true })
  await mkdir(dirname(lock), { recursive: true })
  await writeFile(join(cache, "CACHEDIR.TAG"), TAG, { flag: "wx" }).catch(() => {})
}

/** The commit that a revision meant when last asked; undefined where it never was. */
export async function readRef({ folder }: RepoCache, revision: string): Promise<string | undefined> {
  if (isCommit(revision)) return revision
  const text = await readFile(join(folder, "refs", revision), "utf8").catch(() => "")
  return isCommit(text.trim()) ? text.trim() : undefined
}

/** Keeps what commit a revision means. Where nothing changes nothing is written, since a cache may be protected. */
export async function writeRef(cache: RepoCache, revision: string, commit: string): Promise<void> {
  if ((await readRef(cache, revision)) === commit) return
  const path = join(cache.folder, "refs", revision)
  await mkdir(dirname(path), { recursive: true })
  await writeFileAtomic(path, [Buffer.from(commit)])
}

/** Every revision that is kept, and its commit. */
export async function readRefs(cache: RepoCache): Promise<Map<string, string>> {
  const refs = new Map<string, string>()
  for (const revision of await filesBelow(join(cache.folder, "refs"))) {
    const commit = await readRef(cache, revision)
    if (commit !== undefined) refs.set(revision, commit)
  }
  return refs
}

/** The list of a commit's files; undefined where it is not kept. */
export async function readTree(cache: RepoCache, commit: string): Promise<HubListing | undefined> {
  try {
    return parseTree(JSON.parse(await readFile(treePath(cache, commit), "utf8")), commit, cache.repo)
  } catch (error) {
    if (error instanceof SyntaxError || isNotFound(error)) return undefined
    throw error
  }
}

/** Keeps the list of a commit's files, unless it is kept already. */
export async function writeTree(cache: RepoCache, listing: HubListing): Promise<void> {
  const path = treePath(cache, listing.commit)
  if (await exists(path)) return
  await mkdir(dirname(path), { recursive: true })
  await writeFileAtomic(path, [Buffer.from(formatTree(listing))])
}

function treePath({ folder }: RepoCache, commit: string): string {
  return join(folder, "trees", `${commit}.json`)
}

/**
 * Gives a file of a snapshot the bytes at `blob`: by a relative link, so that a cache can be moved. Where links are not
 * wanted or not possible, the bytes themselves move there, or are copied where they may serve other snapshots too.
 */
export async function placeFile(
  blob: string,
  path: string,
  { symlinks, isNew }: { readonly symlinks: boolean; readonly isNew: boolean },
): Promise<void> {
  await mkdir(dirname(path), { recursive: true })
  const beside = `${path}.${randomUUID()}.part`
  const link = symlinks && (await linked(relative(dirname(path), blob), beside))
  if (!link && isNew) await rename(blob, beside)
  else if (!link) await copyFile(blob, beside)
  await rename(beside, path)
}

/** Whether a link could be made; on Windows that is a privilege. */
function linked(target: string, path: string): Promise<boolean> {
  return symlink(target, path).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (["EPERM", "ENOSYS", "EOPNOTSUPP", "ENOTSUP"].includes(error.code ?? "")) return false
      throw error
    },
  )
}

/** Bytes of a file, through links; undefined where it is not there. */
export async function sizeAt(path: string): Promise<number | undefined> {
  try {
    const stats = await stat(path)
    return stats.isFile() ? stats.size : undefined
  } catch (error) {
    if (isNotFound(error)) return undefined
    throw error
  }
}

/** Paths of all files below a folder, with slashes and without it; none where there is no such folder. */
export async function filesBelow(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { recursive: true, withFileTypes: true }).catch(() => [])
  return entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)).replaceAll("\\", "/"))
    .sort()
}

function isNotFound(error: unknown): boolean {
  return ["ENOENT", "ENOTDIR"].includes((error as NodeJS.ErrnoException).code ?? "")
}
