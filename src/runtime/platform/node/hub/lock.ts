import { randomUUID } from "node:crypto"
import { link, readFile, rename, rm, stat, utimes, writeFile } from "node:fs/promises"
import { hostname } from "node:os"
import { setTimeout as sleep } from "node:timers/promises"
import { z } from "../../../../ground/schema.ts"

/** How a lock is waited for. */
export interface LockOptions {
  readonly signal?: AbortSignal
  /** Called once where another process holds it. */
  readonly onWait?: () => void
}

const BEAT_MS = 5_000
/** A lock whose holder has not shown itself for so long is taken over. */
const STALE_MS = 60_000
const POLL_MS = 200

const holderSchema = z.object({ pid: z.int().positive(), host: z.string() })

/**
 * Does work that one process at a time may do; others wait. A lock is a file that names its holder, who touches it all
 * the while; that of a process that is gone is taken over. It spares downloading twice, no more: where two processes
 * come to hold it after all, both write the same bytes to the same places.
 */
export async function withLock<T>(path: string, work: () => Promise<T>, options: LockOptions): Promise<T> {
  const mine = JSON.stringify({ pid: process.pid, host: hostname(), id: randomUUID() })
  await acquire(path, mine, options)
  const beat = setInterval(() => {
    const now = new Date()
    utimes(path, now, now).catch(() => {})
  }, BEAT_MS)
  try {
    return await work()
  } finally {
    clearInterval(beat)
    if ((await textAt(path)) === mine) await rm(path, { force: true })
  }
}

async function acquire(path: string, mine: string, { signal, onWait }: LockOptions): Promise<void> {
  for (let tries = 0; !(await isMade(path, mine)); tries++) {
    if (await isStale(path)) {
      await putAside(path)
      continue
    }
    if (tries === 0) onWait?.()
    await sleep(POLL_MS, undefined, { signal })
  }
}

/** Makes the lock's file unless it is there. */
function isMade(path: string, text: string): Promise<boolean> {
  return writeFile(path, text, { flag: "wx" }).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === "EEXIST") return false
      throw error
    },
  )
}

async function isStale(path: string): Promise<boolean> {
  const [text, stats] = [await textAt(path), await stat(path).catch(() => undefined)]
  if (text === undefined || stats === undefined) return false
  if (Date.now() - stats.mtimeMs > STALE_MS) return true
  const holder = holderOf(text)
  return holder?.host === hostname() && !isAlive(holder.pid)
}

/** Takes a stale lock away, and gives it back where another process has just taken it over. */
async function putAside(path: string): Promise<void> {
  const aside = `${path}.${randomUUID()}`
  const isMoved = await rename(path, aside).then(
    () => true,
    () => false,
  )
  if (!isMoved) return
  if (!(await isStale(aside))) await link(aside, path).catch(() => {})
  await rm(aside, { force: true })
}

function holderOf(text: string) {
  try {
    return holderSchema.safeParse(JSON.parse(text)).data
  } catch {
    // It is just being written.
    return undefined
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    // The process of another user may not be asked.
    return (error as NodeJS.ErrnoException).code === "EPERM"
  }
}

function textAt(path: string): Promise<string | undefined> {
  return readFile(path, "utf8").catch(() => undefined)
}
