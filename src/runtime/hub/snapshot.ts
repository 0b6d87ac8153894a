/** A repository of the Hub at one commit, while it is chosen which of its files are needed. */
export interface RemoteFolder {
  /** Where its files come to lie on this machine, absolute. */
  readonly folder: string
  /** Paths of all its files, from the repository's root, with slashes. */
  readonly names: ReadonlySet<string>
  /** Brings one file here, small ones that say which others are needed. */
  fetch(name: string): Promise<void>
}

/** What shall be brought here from the Hub. */
export interface SnapshotOrder {
  /** `org/name`. */
  readonly repo: string
  /** A branch, a tag or a commit (default: main). */
  readonly revision?: string
  /** Names of the files that are needed. What it throws is thrown on. */
  choose(remote: RemoteFolder): Promise<readonly string[]>
  /** Stops the work; what is here by then stays, and is not fetched again. */
  readonly signal?: AbortSignal
  /** Follows the work: called when it begins and as bytes come, not where all is here already. */
  readonly onProgress?: (progress: FetchProgress) => void
}

/** How far the files of a model are. */
export interface FetchProgress {
  readonly repo: string
  /** "waiting" where another process fetches the same repository. */
  readonly state: "fetching" | "waiting"
  /** Bytes that are here, with those of earlier runs. */
  readonly done: number
  /** Bytes of the files that were not whole when the work began. */
  readonly total: number
}

/** What a cache of the Hub holds of a repository. */
export interface CachedRepo {
  /** Its folder in the cache, absolute. */
  readonly folder: string
  readonly snapshots: readonly CachedSnapshot[]
  /** Bytes of files whose download is not finished. */
  readonly unfinishedBytes: number
}

/** What a cache holds of a repository at one commit. */
export interface CachedSnapshot {
  readonly commit: string
  /** Branches and tags that meant this commit when last asked. */
  readonly revisions: readonly string[]
  /** Absolute. */
  readonly folder: string
  readonly files: number
  readonly bytes: number
}
