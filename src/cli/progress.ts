import { formatBytes, formatDuration } from "./format.ts"

/** One line at the bottom of the terminal that says how far a long work is, and what it has come to above it. */
export interface Progress {
  /** Names what is being done now, and how much of it is done once that can be counted. */
  show(state: ProgressState): void
  /** Takes the line away, so that something else can be printed; the next `show` brings it back. */
  clear(): void
}

/** What the line says. */
export interface ProgressState {
  readonly label: string
  /** Of `total`; absent where there is nothing to count. */
  readonly done?: number
  readonly total?: number
  /** What is counted, where it is bytes; their rate is told too. */
  readonly unit?: "bytes"
  /** More to say behind the count, such as a loss. */
  readonly note?: string
  /** A picture in lines, each with its break, that stands above the line until the next state has another or none. */
  readonly picture?: string
}

/** How often the clock in the line moves on. */
const TICK_MS = 200
const MAX_BAR = 30

/** A line on a terminal; on anything else, nothing. */
export function progressOn(stream: NodeJS.WriteStream, { quiet = false } = {}): Progress {
  if (quiet || !stream.isTTY || process.env.TERM === "dumb") return { show() {}, clear() {} }
  const pace = paceMeter()
  let state: ProgressState | undefined
  let since = performance.now()
  let timer: NodeJS.Timeout | undefined

  /** To where the picture begins, with nothing from there on. */
  const erased = () => {
    const lines = state?.picture?.split("\n").length ?? 1
    return `\r${lines > 1 ? `\x1b[${lines - 1}A` : ""}\x1b[J`
  }
  const draw = () => {
    if (state === undefined) return
    const now = performance.now()
    const time = pace.remaining(state, now)
    const rate = state.unit === "bytes" ? pace.perSecond() : undefined
    const note = rate === undefined ? state.note : `${formatBytes(Math.round(rate))}/s`
    const line = progressText({ ...state, note }, time ?? now - since, time !== undefined, stream.columns)
    stream.write(`\r\x1b[K${line}`)
  }
  return {
    show(next) {
      if (next.label !== state?.label) since = performance.now()
      if (next.picture !== state?.picture) stream.write(erased() + (next.picture ?? ""))
      state = next
      pace.see(next, performance.now())
      // Never the reason that a process stays alive.
      timer ??= setInterval(draw, TICK_MS).unref()
      draw()
    },
    clear() {
      clearInterval(timer)
      timer = undefined
      if (state !== undefined) stream.write(erased())
      state = undefined
    },
  }
}

/** The line itself, never wider than the terminal. */
export function progressText(state: ProgressState, ms: number, remains: boolean, columns: number): string {
  const { label, done, total, unit, note } = state
  const time = formatDuration(ms)
  if (done === undefined || total === undefined) return `${label}  ${time}`.slice(0, columns - 1)
  const count = unit === "bytes" ? `${formatBytes(done)} of ${formatBytes(total)}` : `${done}/${total}`
  const words = [count, note, remains ? `${time} left` : undefined]
  const behind = words.filter((word) => word !== undefined).join("  ")
  // As wide at every count, so that it does not jump; bytes take more words.
  const width = Math.min(MAX_BAR, Math.floor(columns / (unit === "bytes" ? 5 : 3)))
  const line = `${label}  ${barOf(done / total, width)}  ${behind}`
  return line.length < columns ? line : `${label}  ${behind}`.slice(0, columns - 1)
}

function barOf(share: number, width: number): string {
  const full = Math.round(Math.min(1, Math.max(0, share)) * width)
  return "━".repeat(full) + "─".repeat(width - full)
}

/** Reckons with the pace since the first count that it saw of a work: what came before was preparation. */
export function paceMeter() {
  let first: { readonly done: number; readonly at: number; readonly total: number } | undefined
  let last: { readonly done: number; readonly at: number } | undefined
  /** Milliseconds for one. */
  const pace = () => {
    if (first === undefined || last === undefined || last.done <= first.done) return undefined
    return (last.at - first.at) / (last.done - first.done)
  }
  return {
    see({ done, total }: ProgressState, at: number): void {
      if (done === undefined || total === undefined) return
      if (first?.total !== total || done < (last?.done ?? 0)) first = { done, at, total }
      last = { done, at }
    },
    /** Milliseconds left, the time since the last count taken off; undefined while that cannot be told. */
    remaining({ done, total }: ProgressState, now: number): number | undefined {
      if (done === undefined || total === undefined || done >= total) return undefined
      const each = pace()
      if (each === undefined || last === undefined) return undefined
      return Math.max(0, each * (total - last.done) - (now - last.at))
    },
    /** How many in a second; undefined while that cannot be told. */
    perSecond(): number | undefined {
      const each = pace()
      return each === undefined || each === 0 ? undefined : 1000 / each
    },
  }
}
