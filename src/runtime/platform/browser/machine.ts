import { memorySource } from "../../../formats/byte-source.ts"
import { LimnError, messageOf } from "../../../ground/errors.ts"
import type { OpenByteSource } from "../platform.ts"

export async function openByteSource(path: string): Promise<OpenByteSource> {
  return { ...memorySource(path, await readBytes(path)), close() {} }
}

export async function readBytes(path: string): Promise<Uint8Array> {
  return new Uint8Array(await (await fetched(path)).arrayBuffer())
}

export async function readText(path: string | URL): Promise<string> {
  return (await fetched(path)).text()
}

export async function exists(path: string): Promise<boolean> {
  const answer = await fetch(path, { method: "HEAD" }).catch(() => undefined)
  return answer?.ok === true
}

export async function list(folder: string): Promise<string[]> {
  throw new LimnError(`A browser cannot list what is in ${folder}: name the file in it.`)
}

export async function writeFileAtomic(path: string): Promise<void> {
  throw new LimnError(`A browser cannot write ${path}: take the result from the function that made it.`)
}

export async function writeFileInParts(path: string): Promise<void> {
  return writeFileAtomic(path)
}

export function cacheFolder(): string {
  throw new LimnError(
    "A browser has no folder to keep what limn makes of a checkpoint: use the checkpoint as it is.",
  )
}

export async function isWritableFolder(): Promise<boolean> {
  return false
}

export async function makeFolder(path: string): Promise<void> {
  throw new LimnError(`A browser cannot make the folder ${path}.`)
}

export function availableMemoryBytes(): undefined {
  return undefined
}

export function peakMemoryBytes(): undefined {
  return undefined
}

export function cpuCount(): number {
  return navigator.hardwareConcurrency
}

async function fetched(path: string | URL): Promise<Response> {
  const answer = await fetch(path).catch((error) => {
    throw new LimnError(`Cannot fetch ${path}: ${messageOf(error)}.`, { cause: error })
  })
  if (!answer.ok) throw new LimnError(`Cannot fetch ${path}: the server answers ${answer.status}.`)
  return answer
}
