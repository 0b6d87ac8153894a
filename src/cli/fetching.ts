import type { FetchProgress } from "../runtime/hub/snapshot.ts"
import type { ProgressState } from "./progress.ts"

/** What the progress line says while a model is fetched. */
export function fetchingState({ repo, state, done, total }: FetchProgress): ProgressState {
  if (state === "waiting") return { label: `waiting for another process that fetches ${repo}` }
  return done < total ? { label: "fetching", done, total, unit: "bytes" } : { label: "loading" }
}
