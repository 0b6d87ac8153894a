import { LimnError } from "../../../../ground/errors.ts"
import { PassingError } from "./patience.ts"
import type { HubSettings } from "./settings.ts"

/** What the Hub is asked for. */
export interface Asked {
  readonly settings: HubSettings
  readonly repo: string
  readonly revision: string
  /** Below the Hub's address, with a first slash. */
  readonly path: string
}

/**
 * Why a request was refused, and what to do. By the codes in the Hub's headers: to those who may not see it, a private
 * model looks like one that is not there.
 */
export function refusal({ url, status, headers }: Response, asked: Asked): LimnError {
  const { settings, repo, revision, path } = asked
  const { host } = new URL(url)
  const page = `${settings.endpoint}/${repo}`
  const code = headers.get("x-error-code")
  if (status === 408 || status === 429 || status >= 500)
    return busy(`${host} is too busy to give ${repo} (status ${status})`, headers.get("retry-after"))
  if (code === "GatedRepo") return gated(repo, page, settings)
  if (code === "RevisionNotFound")
    return new LimnError(`${repo} has no revision ${revision}; see those that it has at ${page}.`)
  if (code === "EntryNotFound")
    return new LimnError(`The Hub lists ${path}, and does not have it; try again later.`)
  if (status === 401 && settings.token !== undefined && code !== "RepoNotFound")
    return new LimnError("The Hub does not know your token; set HF_TOKEN to one of your account.")
  if (status === 401 || code === "RepoNotFound")
    return new LimnError(
      `The Hub has no model ${repo}, or none that all may see: check its name, and set HF_TOKEN if it is private.`,
    )
  return new LimnError(`${host} refuses to give ${repo} (status ${status}); see ${page}.`)
}

function busy(what: string, retryAfter: string | null): LimnError {
  const waitMs = retryAfter === null ? undefined : retryAfterMs(retryAfter)
  const when = waitMs === undefined ? "later" : `in ${Math.ceil(waitMs / 1000)} seconds`
  return new PassingError(`${what}; try again ${when}.`, { waitMs })
}

/** Milliseconds from now: the header holds seconds, or a date. */
function retryAfterMs(header: string): number | undefined {
  const ms = /^\d+$/.test(header) ? Number(header) * 1000 : Date.parse(header) - Date.now()
  return Number.isNaN(ms) ? undefined : Math.max(0, ms)
}

function gated(repo: string, page: string, { token }: HubSettings): LimnError {
  const terms = `${repo} is only for those who accept its terms`
  return new LimnError(
    token === undefined
      ? `${terms}: accept them at ${page}, and set HF_TOKEN to a token of your account.`
      : `${terms}, and the account of your token has no access yet: ask for it at ${page}.`,
  )
}
