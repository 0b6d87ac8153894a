import { access, constants, mkdir, readdir, readFile, stat } from "node:fs/promises"
import { availableParallelism, freemem, homedir } from "node:os"
import { join } from "node:path"
import { LimnError } from "../../../ground/errors.ts"

export async function readBytes(path: string): Promise<Uint8Array> {
  return readFile(path).catch(unreadable(path))
}

export async function readText(path: string | URL): Promise<string> {
  return readFile(path, "utf8").catch(unreadable(path))
}

export function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

export async function list(folder: string): Promise<string[]> {
  return (await readdir(folder).catch(unreadable(folder))).sort()
}

export async function makeFolder(path: string): Promise<void> {
  await mkdir(path, { recursive: true }).catch((error: Error) => {
    throw new LimnError(`Cannot make the folder ${path}: ${error.message}.`, { cause: error })
  })
}

/** As the desktop's rules for caches say; under the home folder elsewhere too. */
export function cacheFolder(): string {
  return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "limn")
}

export async function isWritableFolder(path: string): Promise<boolean> {
  const stats = await stat(path).catch(() => undefined)
  if (stats?.isDirectory() !== true) return false
  return access(path, constants.W_OK).then(
    () => true,
    () => false,
  )
}

/** What macOS calls free is little of what it would give. */
export function availableMemoryBytes(): number | undefined {
  return process.platform === "darwin" ? undefined : (process.availableMemory?.() ?? freemem())
}

export function peakMemoryBytes(): number {
  return process.resourceUsage().maxRSS * 1024
}

export function cpuCount(): number {
  return availableParallelism()
}

function unreadable(path: string | URL): (error: Error) => never {
  return (error) => {
    throw new LimnError(`Cannot read ${path}: ${error.message}.`, { cause: error })
  }
}
