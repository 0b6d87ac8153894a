import { spawn } from "node:child_process"
import { existsSync, mkdtempSync, rmSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { inTurn } from "./apart.ts"
import { commonOptions, measured, median, report, rounded } from "./machine.ts"

/**
 * How long the whole command takes, from the shell's point of view, and the most memory that it holds; and how long until the
 * first step of a picture is done. It runs what `npm run build` made last.
 */
const { values: options } = parseArgs({ options: commonOptions })

const root = join(import.meta.dirname, "..")
if (!existsSync(join(root, "dist/node/main.js"))) throw new Error("There is no dist: npm run build makes it.")

const commands = [["--version"], ["a red heart"], ["a red heart", "--images", "4"]]

/** Prints the process's own peak as it ends, in KiB. */
const confession = `data:text/javascript,process.on("exit",()=>console.error("\\npeak",process.resourceUsage().maxRSS))`

/** Tells when the first step is done, and ends there. */
const firstStep = `
  import { load, textToImage } from ${JSON.stringify(join(root, "dist/node/index.js"))}
  const model = await load(${JSON.stringify(join(root, "models/inkling"))})
  await textToImage(model, { prompt: "a red heart", onStep: () => process.exit() })
`

interface Run {
  readonly seconds: number
  readonly peakMiB: number
}

function run(args: readonly string[], folder: string): Promise<Run> {
  const started = performance.now()
  const child = spawn(process.execPath, ["--import", confession, ...args], { cwd: folder })
  let errors = ""
  child.stderr.on("data", (text) => (errors += text))
  child.stdout.resume()
  return new Promise((resolve, reject) => {
    child.on("close", (code) => {
      const seconds = (performance.now() - started) / 1000
      const peak = /^peak (\d+)$/m.exec(errors)
      if (code === 0 && peak !== null) resolve({ seconds, peakMiB: Number(peak[1]) / 1024 })
      else reject(new Error(`${args.join(" ")} ended with ${code}: ${errors}`))
    })
  })
}

const folder = mkdtempSync(join(tmpdir(), "limn-bench-"))
const limn = join(root, "bin/limn.js")
const shown = (command: readonly string[]) =>
  `limn ${command.map((word) => (word.includes(" ") ? `"${word}"` : word)).join(" ")}`
const contenders = new Map([
  ...commands.map((command) => [shown(command), [limn, ...command]] as const),
  ["until the first step is done", ["--input-type=module", "--eval", firstStep]] as const,
])
const runs = await inTurn([...contenders.keys()], Number(options.repeats), (name) =>
  run(contenders.get(name)!, folder),
)
rmSync(folder, { recursive: true })
const rows = [...runs].map(([command, taken]) => {
  const seconds = taken.map((each) => each.seconds)
  return {
    command,
    "seconds, best": rounded(Math.min(...seconds)),
    "seconds, median": rounded(median(seconds)),
    "peak MiB, median": Math.round(median(taken.map((each) => each.peakMiB))),
  }
})
report("start", measured(options), rows)
