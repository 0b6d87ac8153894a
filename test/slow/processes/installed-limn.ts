import type { ChildProcess } from "node:child_process"
import { execFileSync, spawn } from "node:child_process"
import { cpSync, mkdtempSync, rmSync, symlinkSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"

const root = join(import.meta.dirname, "../../..")

/** How a process ended, and all it said. */
export interface Ended {
  /** As a shell tells it: 128 + the signal's number where a signal ended it. */
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

/** What a process is given. */
export interface Given {
  readonly cwd?: string
  readonly input?: string
  /** Variables beside those of this process. */
  readonly env?: Readonly<Record<string, string>>
  /** Called once the process runs. */
  readonly onStart?: (child: ChildProcess) => void
}

/** limn's command built anew in a folder of its own, as a package manager would install it. */
export interface InstalledLimn {
  readonly bin: string
  run(args: readonly string[], given?: Given): Promise<Ended>
  remove(): void
}

/** Builds and lays out what the command is of, with this checkout's dependencies. */
export function installLimn(): InstalledLimn {
  const folder = mkdtempSync(join(tmpdir(), "limn-installed-"))
  const bundle = ["--config", join(root, "rolldown.config.js"), "--dir", join(folder, "dist/node")]
  const rolldown = join(root, "node_modules/rolldown/bin/cli.mjs")
  execFileSync(process.execPath, [rolldown, ...bundle], { cwd: root })
  cpSync(join(root, "package.json"), join(folder, "package.json"))
  cpSync(join(root, "bin"), join(folder, "bin"), { recursive: true })
  for (const linked of ["node_modules", "models"]) symlinkSync(join(root, linked), join(folder, linked))
  const bin = join(folder, "bin/limn.js")
  return {
    bin,
    run: (args, given) => runProcess(process.execPath, [bin, ...args], given),
    remove: () => rmSync(folder, { recursive: true }),
  }
}

/** Runs a program to its end. */
export function runProcess(file: string, args: readonly string[], given: Given = {}): Promise<Ended> {
  const { cwd = root, input, env, onStart } = given
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { cwd, stdio: "pipe", env: { ...process.env, ...env } })
    let stdout = ""
    let stderr = ""
    child.stdout.setEncoding("utf8").on("data", (text: string) => (stdout += text))
    child.stderr.setEncoding("utf8").on("data", (text: string) => (stderr += text))
    child.on("error", reject)
    child.on("close", (code, signal) => {
      resolve({ code: code ?? (signal === "SIGINT" ? 130 : 137), stdout, stderr })
    })
    child.stdin.on("error", () => {})
    child.stdin.end(input)
    onStart?.(child)
  })
}
