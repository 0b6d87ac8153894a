import { resolve } from "node:path"

export function absolutePath(...parts: readonly string[]): string {
  return resolve(...parts)
}
