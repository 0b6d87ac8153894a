import { LimnError } from "../../../ground/errors.ts"
import { DEFAULT_REVISION } from "../../hub/names.ts"
import type { SnapshotOrder } from "../../hub/snapshot.ts"

export async function fetchSnapshot({ repo, revision = DEFAULT_REVISION }: SnapshotOrder): Promise<string> {
  throw noCache(repo, revision)
}

export async function cachedRepo(repo: string): Promise<never> {
  throw noCache(repo, DEFAULT_REVISION)
}

function noCache(repo: string, revision: string): LimnError {
  return new LimnError(
    `A browser has no cache of the Hub for ${repo}; give the address of its folder, as https://huggingface.co/${repo}/resolve/${revision}.`,
  )
}
