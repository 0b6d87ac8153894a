import { spawn } from "node:child_process"

/** Runs a command in a process of its own, so that its peak of memory is its own, and gives the JSON that it prints last. */
export function runApart<T>(command: string, args: readonly string[]): Promise<T> {
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "inherit"] })
  let text = ""
  child.stdout.on("data", (more) => (text += more))
  return new Promise((resolve, reject) => {
    child.on("error", reject)
    child.on("close", (code) => {
      if (code === 0) resolve(JSON.parse(text.trim().split("\n").at(-1)!))
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
