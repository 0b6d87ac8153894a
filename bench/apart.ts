import { spawn } from "node:child_process"
import type { Memory } from "../test/full/memory.ts"
import { watchMemory } from "../test/full/memory.ts"

/**
 * Runs a command in a process of its own, so that its peak of memory is its own, and gives the JSON that it prints last with
 * that peak. The peak is watched from outside, twenty times a second, so that it means the same for any program; Linux only.
 */
export function runApart<T>(command: string, args: readonly string[]): Promise<T & Memory> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] })
  let text = ""
  child.stdout.on("data", (more) => (text += more))
  const memory = watchMemory({ process: child.pid })
  return new Promise((resolve, reject) => {
    child.on("error", reject)
    child.on("close", (code) => {
      const peak = memory.stop()
      if (code === 0) resolve({ ...JSON.parse(text.trim().split("\n").at(-1)!), ...peak })
      else reject(new Error(`${[command, ...args].join(" ")} ended with ${code}.`))
    })
  })
}

/** The arguments with which a program of this folder runs itself again. */
export function itself(
  file: string,
  args: readonly string[],
): readonly [command: string, args: readonly string[]] {
  return [process.execPath, [...process.execArgv, file, ...args]]
}

/**
 * Runs each of some contenders in turn, so many times, so that what else the machine does meets them alike. Says on stderr
 * what runs and how long is left.
 */
export async function inTurn<T>(
  contenders: readonly string[],
  rounds: number,
  run: (contender: string) => Promise<T>,
): Promise<ReadonlyMap<string, readonly T[]>> {
  const runs = new Map<string, T[]>(contenders.map((contender) => [contender, []]))
  const all = rounds * contenders.length
  const started = performance.now()
  for (let done = 0; done < all; done++) {
    const contender = contenders[done % contenders.length]
    const left = ((performance.now() - started) / 1000 / done) * (all - done)
    const eta = done < contenders.length ? "" : `, about ${Math.ceil(left)} s left`
    process.stderr.write(`${done + 1} of ${all}: ${contender}${eta}\n`)
    runs.get(contender)!.push(await run(contender))
  }
  return runs
}
