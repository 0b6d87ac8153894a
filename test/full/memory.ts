import { readFileSync } from "node:fs"
import { loadavg } from "node:os"

/** What a process held in memory, in gigabytes. */
export interface Memory {
  /** What is no file's pages. */
  readonly anonymous: number
  /** Pages of files, which the system takes back when it needs them. */
  readonly files: number
  /** Both, and what it shares with others. */
  readonly whole: number
}

/** What a process, by default this one, holds now, as Linux tells: nothing once it has ended. */
export function memoryNow(process: number | "self" = "self"): Memory {
  let status = ""
  try {
    status = readFileSync(`/proc/${process}/status`, "utf8")
  } catch {}
  const gigabytes = (key: string) =>
    Number(new RegExp(`${key}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0) / 2 ** 20
  return { anonymous: gigabytes("RssAnon"), files: gigabytes("RssFile"), whole: gigabytes("VmRSS") }
}

/** Watches until stopped, and says the most that it saw of each. ONNX Runtime works in another thread, so this one can. */
export function watchMemory({ everyMs = 50, process = "self" as number | "self" } = {}): { stop(): Memory } {
  let most = memoryNow(process)
  const look = () => {
    const { anonymous, files, whole } = memoryNow(process)
    most = {
      anonymous: Math.max(most.anonymous, anonymous),
      files: Math.max(most.files, files),
      whole: Math.max(most.whole, whole),
    }
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

/** What work took, in seconds and gigabytes. */
export interface Cost extends Memory {
  readonly seconds: number
  /** Of the processor, all threads together: what others do on the machine matters less to it. */
  readonly processor: number
}

/** Does work, and prints and gives what it took. */
export async function measured<T>(what: string, work: () => Promise<T>): Promise<readonly [T, Cost]> {
  const memory = watchMemory()
  const [start, used] = [performance.now(), process.cpuUsage()]
  const result = await work()
  const seconds = (performance.now() - start) / 1000
  const { user, system } = process.cpuUsage(used)
  const cost = { ...memory.stop(), seconds, processor: (user + system) / 1e6 }
  console.log(
    `${what}: ${seconds.toFixed(1)} s, ${cost.processor.toFixed(1)} s of processors; at most ${cost.anonymous.toFixed(2)} GB ` +
      `beside files, ${cost.files.toFixed(2)} GB of files; load ${loadavg()[0].toFixed(1)}`,
  )
  return [result, cost]
}
