import { LimnError } from "../../../ground/errors.ts"
import type { SnapshotOrder } from "../../hub/snapshot.ts"

export async function fetchSnapshot({ repo, revision = "main" }: SnapshotOrder): Promise<string> {
  throw noCache(repo, revision)
}

export async function cachedRepo(repo: string): Promise<never> {
  throw noCache(repo, "main")
}

function noCache(repo: string, revision: string): LimnError {
  return new LimnError(
    `A browser has no cache of the Hub for ${repo}; give the address of its folder, as https://huggingface.co/${repo}/resolve/${revision}.`,
  )
}
