import { cachedRepo } from "#platform"
import { LimnError } from "../ground/errors.ts"
import type { Description } from "./description.ts"
import { formatBytes, formatCount, formatTable } from "./format.ts"

/** A model of the Hub, as far as it is in the cache; the Hub is not asked. Throws a LimnError where nothing of it is. */
export async function describeRepo(repo: string): Promise<Description> {
  const cached = await cachedRepo(repo)
  const { folder, snapshots, unfinishedBytes } = cached
  if (snapshots.length === 0 && unfinishedBytes === 0)
    throw new LimnError(
      `There is nothing at ${repo}, and no model of that name in ${folder}; limn "a red heart" --model ${repo} fetches it from the Hub.`,
    )
  const rows = snapshots.map(({ commit, revisions, files, bytes }) => [
    revisions.join(", "),
    commit.slice(0, 10),
    formatCount(files),
    formatBytes(bytes),
  ])
  const unfinished =
    unfinishedBytes === 0 ? [] : [`Of files that are not whole: ${formatBytes(unfinishedBytes)}`]
  return {
    text: [
      `${repo}\nA model of the Hub, cached in ${folder}`,
      formatTable([["revision", "commit", "files", "size"], ...rows], [2, 3]),
      ...snapshots.map((snapshot) => snapshot.folder),
      ...unfinished,
    ].join("\n\n"),
    json: { kind: "repo", repo, ...cached },
  }
}
