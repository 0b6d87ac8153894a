import { spawn } from "node:child_process"
import { readFileSync } from "node:fs"

/** The most memory that a process was seen to hold, in MiB. */
export interface Peak {
  /** All of it that is in memory. */
  readonly wholeMiB: number
  /** What of it is no file's pages, which the system can take back. */
  readonly anonymousMiB: number
}

/**
 * Runs a command in a process of its own, so that its peak of memory is its own, and gives the JSON that it prints last with
 * that peak. The peak is watched from outside, twenty times a second, so that it means the same for any program; Linux only.
 */
export function runApart<T>(command: string, args: readonly string[]): Promise<T & Peak> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] })
  let text = ""
  child.stdout.on("data", (more) => (text += more))
  const peak = { wholeMiB: 0, anonymousMiB: 0 }
  const watching = setInterval(() => {
    const { wholeMiB, anonymousMiB } = held(child.pid!)
    peak.wholeMiB = Math.max(peak.wholeMiB, wholeMiB)
    peak.anonymousMiB = Math.max(peak.anonymousMiB, anonymousMiB)
  }, 50)
  return new Promise((resolve, reject) => {
    child.on("error", reject)
    child.on("close", (code) => {
      clearInterval(watching)
      if (code === 0) resolve({ ...JSON.parse(text.trim().split("\n").at(-1)!), ...peak })
      else reject(new Error(`${[command, ...args].join(" ")} ended with ${code}.`))
    })
  })
}

/** What a process holds now: nothing when it has just ended. */
function held(pid: number): Peak {
  let status = ""
  try {
    status = readFileSync(`/proc/${pid}/status`, "utf8")
  } catch {}
  const mebibytes = (key: string) => Number(new RegExp(`${key}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0) / 1024
  return { wholeMiB: mebibytes("VmRSS"), anonymousMiB: mebibytes("RssAnon") }
}

/** The arguments with which a program of this folder runs itself again. */
export function itself(
  file: string,
  args: readonly string[],
): readonly [command: string, args: readonly string[]] {
  return [process.execPath, [...process.execArgv, file, ...args]]
}
