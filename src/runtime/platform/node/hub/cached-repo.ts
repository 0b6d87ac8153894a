import { readdir } from "node:fs/promises"
import { join } from "node:path"
import { checkRepoName } from "../../../hub/names.ts"
import type { CachedRepo, CachedSnapshot } from "../../../hub/snapshot.ts"
import { filesBelow, readRefs, repoCache, sizeAt, snapshotFolder } from "./layout.ts"
import { hubSettings } from "./settings.ts"

/** What the cache holds of a repository; no snapshots where it holds nothing. */
export async function cachedRepo(repo: string): Promise<CachedRepo> {
  checkRepoName(repo)
  const cache = repoCache(hubSettings(), repo)
  const refs = [...(await readRefs(cache))]
  const commits = await readdir(join(cache.folder, "snapshots")).catch(() => [])
  const snapshots = commits.sort().map(async (commit): Promise<CachedSnapshot> => {
    const folder = snapshotFolder(cache, commit)
    const sizes = await sizesBelow(folder)
    const revisions = refs.filter(([, meant]) => meant === commit).map(([revision]) => revision)
    return { commit, revisions, folder, files: sizes.length, bytes: sum(sizes) }
  })
  const unfinished = await sizesBelow(cache.blobs, (name) => name.endsWith(".incomplete"))
  return { folder: cache.folder, snapshots: await Promise.all(snapshots), unfinishedBytes: sum(unfinished) }
}

/** Sizes of the files that are whole: no link without its file. */
async function sizesBelow(folder: string, wanted: (name: string) => boolean = () => true): Promise<number[]> {
  const names = (await filesBelow(folder)).filter(wanted)
  const sizes = await Promise.all(names.map((name) => sizeAt(join(folder, name))))
  return sizes.filter((size) => size !== undefined)
}

function sum(sizes: readonly number[]): number {
  return sizes.reduce((total, size) => total + size, 0)
}
