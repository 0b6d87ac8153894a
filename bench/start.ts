import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { commonOptions, measured, median, report, rounded } from "./machine.ts"

/**
 * How long the whole command takes, from the shell's point of view, and the most memory that it holds. It runs what
 * `npm run build` made last.
 */
const { values: options } = parseArgs({ options: commonOptions })

const root = join(import.meta.dirname, "..")
if (!existsSync(join(root, "dist/node/main.js"))) throw new Error("There is no dist: npm run build makes it.")

const commands = [["--version"], ["a red heart"], ["a red heart", "--images", "4"]]

/** Prints the process's own peak as it ends, in KiB. */
const confession = `data:text/javascript,process.on("exit",()=>console.error("\\npeak",process.resourceUsage().maxRSS))`

interface Run {
  readonly seconds: number
  readonly peakMiB: number
}

function run(args: readonly string[], folder: string): Promise<Run> {
  const started = performance.now()
  const limn = [join(root, "bin/limn.js"), ...args]
  const child = spawn(process.execPath, ["--import", confession, ...limn], { cwd: folder })
  let errors = ""
  child.stderr.on("data", (text) => (errors += text))
  child.stdout.resume()
  return new Promise((resolve, reject) => {
    child.on("close", (code) => {
      const seconds = (performance.now() - started) / 1000
      const peak = /^peak (\d+)$/m.exec(errors)
      if (code === 0 && peak !== null) resolve({ seconds, peakMiB: Number(peak[1]) / 1024 })
      else reject(new Error(`limn ${args.join(" ")} ended with ${code}: ${errors}`))
    })
  })
}

const folder = mkdtempSync(join(tmpdir(), "limn-bench-"))
const rows: object[] = []
for (const command of commands) {
  const runs: Run[] = []
  for (let k = 0; k < Number(options.repeats); k++) runs.push(await run(command, folder))
  const seconds = runs.map((each) => each.seconds)
  rows.push({
    command: `limn ${command.map((word) => (word.includes(" ") ? `"${word}"` : word)).join(" ")}`,
    "seconds, best": rounded(Math.min(...seconds)),
    "seconds, median": rounded(median(seconds)),
    "peak MiB, median": Math.round(median(runs.map((each) => each.peakMiB))),
  })
}
rmSync(folder, { recursive: true })
report("start", measured(options), rows)
