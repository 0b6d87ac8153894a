import { FormatError } from "../../ground/errors.ts"
import { z } from "../../ground/schema.ts"
import { checkFileName } from "./names.ts"

/** A file of a repository at one commit. */
export interface HubFile {
  /** From the repository's root, with slashes. */
  readonly path: string
  readonly size: number
  /** Git's name of it: the sha1 of its bytes, or of a pointer where the bytes are in large file storage (LFS). */
  readonly blobId: string
  /** Of its bytes, where they are in large file storage. */
  readonly sha256?: string
}

/** All files of a repository at one commit, by path. */
export interface HubListing {
  readonly commit: string
  readonly files: ReadonlyMap<string, HubFile>
}

const sha1 = z.string().regex(/^[0-9a-f]{40}$/)
const sha256 = z.string().regex(/^[0-9a-f]{64}$/)
const size = z.int().nonnegative()

/** What the Hub answers to `/api/models/ORG/NAME/revision/REVISION?blobs=true`, as far as it is read. */
const answerSchema = z.object({
  sha: sha1,
  siblings: z.array(
    z.object({ rfilename: z.string(), size, blobId: sha1, lfs: z.object({ sha256, size }).nullish() }),
  ),
})

/** What huggingface_hub keeps of a commit in `trees/COMMIT.json`. */
const treeSchema = z.object({
  format_version: z.literal(1),
  files: z.record(
    z.string(),
    z.object({ size, blob_id: sha1, lfs_sha256: sha256.optional(), lfs_size: size.optional() }),
  ),
})

/** The listing in the Hub's answer. Throws a FormatError where it is none, or names a file outside the repository. */
export function parseListing(answer: unknown, repo: string): HubListing {
  const result = answerSchema.safeParse(answer)
  if (!result.success) {
    const [issue] = result.error.issues
    throw new FormatError(
      `The Hub's list of the files of ${repo} is wrong in "${issue.path.join(".")}": ${issue.message}; check HF_ENDPOINT.`,
    )
  }
  const files = result.data.siblings.map(
    ({ rfilename, size, blobId, lfs }): HubFile =>
      lfs
        ? { path: rfilename, size: lfs.size, blobId, sha256: lfs.sha256 }
        : { path: rfilename, size, blobId },
  )
  return listingOf(result.data.sha, files, repo)
}

/** The listing in a cache's `trees/COMMIT.json`; undefined where it is in a form that is not known, or broken. */
export function parseTree(json: unknown, commit: string, repo: string): HubListing | undefined {
  const result = treeSchema.safeParse(json)
  if (!result.success) return undefined
  const files = Object.entries(result.data.files).map(
    ([path, file]): HubFile => ({
      path,
      size: file.lfs_size ?? file.size,
      blobId: file.blob_id,
      sha256: file.lfs_sha256,
    }),
  )
  return listingOf(commit, files, repo)
}

/** The text of `trees/COMMIT.json`, as huggingface_hub writes it. */
export function formatTree({ files }: HubListing): string {
  const sorted = [...files.values()].sort((a, b) => (a.path < b.path ? -1 : 1))
  const entries = sorted.map(({ path, size, blobId, sha256 }) => {
    const large = sha256 === undefined ? {} : { lfs_sha256: sha256, lfs_size: size }
    return [path, { size, blob_id: blobId, ...large }]
  })
  return JSON.stringify({ format_version: 1, files: Object.fromEntries(entries) }, null, 1)
}

/** What a cache calls the bytes of a file: the sha256 in large file storage, else git's name. */
export function etagOf({ sha256, blobId }: HubFile): string {
  return sha256 ?? blobId
}

function listingOf(commit: string, files: readonly HubFile[], repo: string): HubListing {
  for (const { path } of files) checkFileName(path, repo)
  return { commit, files: new Map(files.map((file) => [file.path, file])) }
}
