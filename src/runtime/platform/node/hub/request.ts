import { LimnError, messageOf } from "../../../../ground/errors.ts"
import { PassingError } from "./patience.ts"
import type { Asked } from "./refusals.ts"
import { refusal } from "./refusals.ts"

/** A request of the Hub. */
export interface HubRequest extends Asked {
  /** The first byte that is wanted (default: 0). */
  readonly from?: number
  readonly signal?: AbortSignal
}

/** An answer: its head, and its bytes as they come. */
export interface HubAnswer {
  readonly status: number
  readonly headers: Headers
  readonly chunks: AsyncIterable<Uint8Array>
}

/** A server that sends nothing for so long has failed. */
const PATIENCE_MS = 30_000
const MAX_REDIRECTS = 10

/**
 * Asks the Hub, follows its redirects and gives `use` the answer: a success, or 416 where `from` lies beyond the end.
 * The connection ends with `use`. The token goes to the Hub's own address only, never to the hosts it redirects to.
 * Throws a PassingError where asking again may help, a LimnError that says what to do where the Hub refuses.
 */
export async function request<T>(asked: HubRequest, use: (answer: HubAnswer) => Promise<T>): Promise<T> {
  const { settings, repo, path, signal } = asked
  const patience = patienceMeter(signal)
  let url = new URL(`${settings.endpoint}${path}`)
  /** Only what the connection does wrong may pass; what `use` does may not. */
  const failed = (error: unknown): never => {
    signal?.throwIfAborted()
    const message = `Cannot fetch ${repo} from ${url.host}: ${reasonOf(error)}; try again.`
    throw new PassingError(message, { cause: error })
  }
  try {
    for (let hop = 0; hop <= MAX_REDIRECTS; hop++) {
      patience.renew()
      const headers = headersFor(url, asked)
      const sent = fetch(url, { headers, redirect: "manual", signal: patience.signal })
      const response = await sent.catch(failed)
      const next = redirectOf(response, url)
      if (next === undefined) {
        if (!response.ok && response.status !== 416) throw refusal(response, asked)
        const chunks = chunksOf(response, patience.renew, failed)
        return await use({ status: response.status, headers: response.headers, chunks })
      }
      await response.body?.cancel()
      url = next
    }
    throw new LimnError(`${url.host} redirects without an end where ${repo} should be; check HF_ENDPOINT.`)
  } finally {
    patience.end()
  }
}

function headersFor(url: URL, { settings, from = 0 }: HubRequest): Record<string, string> {
  const { endpoint, token } = settings
  // Unpacked, so that sizes and ranges are those of the file.
  const headers: Record<string, string> = { "accept-encoding": "identity", "user-agent": "limn" }
  if (from > 0) headers.range = `bytes=${from}-`
  if (token !== undefined && url.origin === new URL(endpoint).origin)
    headers.authorization = `Bearer ${token}`
  return headers
}

function redirectOf({ status, headers }: Response, from: URL): URL | undefined {
  const location = headers.get("location")
  return [301, 302, 303, 307, 308].includes(status) && location !== null ? new URL(location, from) : undefined
}

async function* chunksOf(
  { body }: Response,
  onChunk: () => void,
  onError: (error: unknown) => never,
): AsyncIterable<Uint8Array> {
  const reader = body?.getReader()
  for (;;) {
    const part = await reader?.read().catch(onError)
    if (part?.value === undefined) return
    onChunk()
    yield part.value
  }
}

/** A signal that aborts with the caller's, and where it is not renewed in time. */
function patienceMeter(outer: AbortSignal | undefined) {
  const controller = new AbortController()
  const silence = new Error(`nothing came for ${PATIENCE_MS / 1000} seconds`)
  const timer = setTimeout(() => controller.abort(silence), PATIENCE_MS)
  return {
    signal: outer === undefined ? controller.signal : AbortSignal.any([outer, controller.signal]),
    renew: () => void timer.refresh(),
    /** Ends the connection too, where it is still there. */
    end() {
      clearTimeout(timer)
      controller.abort()
    },
  }
}

/** What fetch keeps behind "fetch failed". */
function reasonOf(error: unknown): string {
  const cause = error instanceof Error ? (error.cause ?? error) : error
  const code = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined
  return messageOf(cause) || String(code)
}
