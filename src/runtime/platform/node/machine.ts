import { access, mkdir, readdir, readFile } from "node:fs/promises"
import { availableParallelism } from "node:os"
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
