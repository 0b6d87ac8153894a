import { readFileSync } from "node:fs"

/** What this process held in memory, in gigabytes. */
export interface Memory {
  /** What is no file's pages. */
  readonly anonymous: number
  /** Pages of files, which the system takes back when it needs them. */
  readonly files: number
}

/** What it holds now, as Linux tells. */
export function memoryNow(): Memory {
  const status = readFileSync("/proc/self/status", "utf8")
  const gigabytes = (key: string) => Number(new RegExp(`${key}:\\s+(\\d+) kB`).exec(status)?.[1]) / 2 ** 20
  return { anonymous: gigabytes("RssAnon"), files: gigabytes("RssFile") }
}

/** Watches until stopped, and says the most that it saw of each. ONNX Runtime works in another thread, so this one can. */
export function watchMemory({ everyMs = 50 } = {}): { stop(): Memory } {
  let most = memoryNow()
  const look = () => {
    const { anonymous, files } = memoryNow()
    most = { anonymous: Math.max(most.anonymous, anonymous), files: Math.max(most.files, files) }
  }
  const timer = setInterval(look, everyMs)
  return {
    stop() {
      clearInterval(timer)
      look()
      return most
    },
  }
}
