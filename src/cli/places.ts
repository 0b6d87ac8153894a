import { accessSync, constants, existsSync, statSync } from "node:fs"
import { dirname, extname, join, relative, resolve, sep } from "node:path"
import { LimnError, UsageError } from "../ground/errors.ts"

/** Where pictures go. */
export interface Place {
  /** The path of the next picture. */
  next(prompt: string, seed: number | bigint): string
}

/** Names are kept so short that every file system takes them, with what is added to write them safely. */
const MAX_NAME_BYTES = 120

/**
 * Where `count` pictures go: into the file that `out` names, which is replaced, or into a folder under names made of
 * prompts and seeds, never those of files that are there. Nothing is made yet, but a place that cannot be written to
 * is refused before the work. Throws a UsageError for a file that is no PNG, a LimnError for such a place.
 */
export function openPlace(out: string | undefined, count: number): Place {
  if (out === undefined || !namesFile(out)) {
    const folder = out ?? "."
    checkFolder(folder)
    return { next: (prompt, seed) => freePath(folder, `${slug(prompt)}-${seed}`) }
  }
  checkFolder(dirname(out))
  if (count === 1) return { next: () => out }
  const stem = out.slice(0, -extname(out).length)
  let made = 0
  return { next: () => `${stem}-${++made}.png` }
}

/** A path as the user sees it from the current folder; absolute where it lies outside. */
export function shownPath(path: string, from: string = process.cwd()): string {
  const way = relative(from, path)
  return way.split(sep)[0] === ".." ? path : way
}

/** A prompt as part of a file's name, in any script: "A red heart!" -> "red-heart". */
export function slug(prompt: string): string {
  const words = prompt
    .normalize("NFC")
    .toLowerCase()
    .replace(/^(a|an|the)\s+/, "")
    .split(/[^\p{L}\p{M}\p{N}]+/u)
    .filter((word) => /[\p{L}\p{N}]/u.test(word))
  let name = ""
  for (const word of words) {
    const longer = name === "" ? word : `${name}-${word}`
    if (Buffer.byteLength(longer) > MAX_NAME_BYTES) return name || cut(word)
    name = longer
  }
  return name || "picture"
}

/** The beginning of a word, as in languages that put no spaces between words. */
function cut(word: string): string {
  let name = ""
  for (const character of word) {
    if (Buffer.byteLength(name + character) > MAX_NAME_BYTES) break
    name += character
  }
  return name
}

function freePath(folder: string, name: string): string {
  for (let n = 1; ; n++) {
    const path = join(folder, n === 1 ? `${name}.png` : `${name}-${n}.png`)
    if (!existsSync(path)) return path
  }
}

function namesFile(out: string): boolean {
  if (/[/\\]$/.test(out) || isFolder(out)) return false
  if (/\.png$/i.test(out)) return true
  if (/\.(jpe?g|webp|gif|bmp|tiff?|avif|svg)$/i.test(out))
    throw new UsageError(
      `Pictures are written as PNG, not ${extname(out)}; give --out a name that ends in .png.`,
    )
  return false
}

function isFolder(path: string): boolean {
  try {
    return statSync(path).isDirectory()
  } catch {
    return false
  }
}

/** Throws where a folder is not there and cannot be made, or is and cannot be written to. */
function checkFolder(folder: string): void {
  let nearest = resolve(folder)
  while (!existsSync(nearest)) nearest = dirname(nearest)
  if (!isFolder(nearest))
    throw new LimnError(`Cannot write into ${folder}: ${nearest} is a file; choose another --out.`)
  try {
    accessSync(nearest, constants.W_OK)
  } catch (error) {
    throw new LimnError(`Cannot write into ${nearest}, which is protected; choose another --out.`, {
      cause: error,
    })
  }
}
