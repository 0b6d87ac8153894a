import { readdir } from "node:fs/promises"
import { resolve } from "node:path"

/** One absolute path from parts; relative ones begin where the process was started. */
export function absolutePath(...parts: readonly string[]): string {
  return resolve(...parts)
}

/** Names of the files and folders directly inside a folder, in order; undefined where there is no such folder. */
export async function namesIn(folder: string): Promise<string[] | undefined> {
  try {
    return (await readdir(folder)).sort()
  } catch {
    return undefined
  }
}
