import { readFileSync } from "node:fs"
import { homedir } from "node:os"
import { join } from "node:path"
import { UsageError } from "../../../../ground/errors.ts"

/** Where the Hub and its cache are, and how to use them. */
export interface HubSettings {
  /** The Hub's address, without a last slash. */
  readonly endpoint: string
  /** The cache's folder. */
  readonly cache: string
  readonly token?: string
  readonly offline: boolean
  /** False where snapshots shall hold the files themselves. */
  readonly symlinks: boolean
}

/**
 * Settings from the environment, by the names and the rules of huggingface_hub. Throws a UsageError where HF_ENDPOINT
 * is no address.
 */
export function hubSettings(env: NodeJS.ProcessEnv = process.env): HubSettings {
  const home = expanded(
    env.HF_HOME ?? join(env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "huggingface"),
    env,
  )
  return {
    endpoint: endpointOf(env.HF_ENDPOINT || "https://huggingface.co"),
    cache: expanded(env.HF_HUB_CACHE ?? env.HUGGINGFACE_HUB_CACHE ?? join(home, "hub"), env),
    token: tokenOf(env, home),
    offline: isTrue(env.HF_HUB_OFFLINE || env.TRANSFORMERS_OFFLINE),
    symlinks: !isTrue(env.HF_HUB_DISABLE_SYMLINKS),
  }
}

function endpointOf(address: string): string {
  if (!/^https?:\/\//.test(address) || !URL.canParse(address))
    throw new UsageError(`HF_ENDPOINT is "${address}"; give an address that begins with https://.`)
  return address.replace(/\/+$/, "")
}

/** The token of the environment, else of the file that a login writes. */
function tokenOf(env: NodeJS.ProcessEnv, home: string): string | undefined {
  if (isTrue(env.HF_HUB_DISABLE_IMPLICIT_TOKEN)) return undefined
  const said = env.HF_TOKEN ?? env.HUGGING_FACE_HUB_TOKEN
  return said?.trim() || fileToken(expanded(env.HF_TOKEN_PATH ?? join(home, "token"), env)) || undefined
}

function fileToken(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8").trim()
  } catch {
    return undefined
  }
}

function isTrue(value: string | undefined): boolean {
  return ["1", "ON", "YES", "TRUE"].includes(value?.toUpperCase() ?? "")
}

/** A path with `~`, `$NAME` and `${NAME}` replaced, as shells do. */
function expanded(path: string, env: NodeJS.ProcessEnv): string {
  return path
    .replace(/^~(?=\/|\\|$)/, homedir())
    .replace(/\$(?:\{(\w+)\}|(\w+))/g, (all, braced, bare) => env[braced ?? bare] ?? all)
}
