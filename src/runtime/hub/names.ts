import { quoted } from "../../formats/json.ts"
import { FormatError, UsageError } from "../../ground/errors.ts"

/** The revision that is meant where none is named. */
export const DEFAULT_REVISION = "main"

/** Whether a text looks like the name of a repository on the Hub, `org/name`, rather than like a path. */
export function looksLikeRepo(text: string): boolean {
  return /^\w[\w.-]*\/\w[\w.-]*$/.test(text)
}

/** Throws a UsageError where no repository of the Hub can have this name; the rules of huggingface_hub. */
export function checkRepoName(name: string): void {
  const valid = /^\w([\w.-]{0,94}\w)?\/\w([\w.-]{0,94}\w)?$/.test(name)
  if (!valid || /--|\.\.|\.git$/.test(name))
    throw new UsageError(
      `${quoted(name)} is no name of a model on the Hub; names are org/name, of letters, digits, "-", "_" and ".".`,
    )
}

/** Throws a UsageError for a text that is no branch, tag or commit, such as one that would leave the cache's folder. */
export function checkRevision(revision: string): void {
  const parts = revision.split("/")
  if (!parts.every((part) => /^[\w.+@=~-]+$/.test(part) && !/^\.|\.\.|\.$/.test(part)))
    throw new UsageError(`${quoted(revision)} is no revision; give a branch, a tag or a commit.`)
}

/** Whether a revision is a whole commit, which never changes. */
export function isCommit(revision: string): boolean {
  return /^[0-9a-f]{40}$/.test(revision)
}

/**
 * Throws a FormatError for a file of a repository that would be written elsewhere than below its folder: an absolute
 * path, a drive of Windows, `..`, a backslash. Read by the rules of both kinds of systems, since caches are copied.
 */
export function checkFileName(path: string, repo: string): void {
  const parts = path.split("/")
  const escapes = (part: string) => ["", ".", ".."].includes(part) || /^[A-Za-z]:/.test(part)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for.
  if (/[\\\x00-\x1f]/.test(path) || parts.some(escapes))
    throw new FormatError(
      `${repo} lists a file ${quoted(path)}, which would lie outside its folder; do not use this model.`,
    )
}
