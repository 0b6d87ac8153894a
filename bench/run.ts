import { spawnSync } from "node:child_process"
import { join } from "node:path"
import { parseArgs } from "node:util"
import { itself } from "./apart.ts"
import { commonOptions, peerOptions } from "./machine.ts"

/**
 * `npm run bench [-- --python PYTHON] [--machine "what it is"]`: every measurement that stands in results/, one after the other.
 * About an hour on two cores; each can be run alone, `npx tsx --conditions=source bench/step.ts`. What compares limn with
 * diffusers leaves that out where --python names no interpreter with the packages of reference/requirements.txt.
 */
const { values: options } = parseArgs({
  options: { ...commonOptions, repeats: { type: "string" }, ...peerOptions },
})

/** Those that take the options of a comparison, and those that take only what all take. */
const programs = { step: true, picture: true, growth: false, decode: false, start: false, train: false }

const said = (names: readonly (keyof typeof options)[]) =>
  names.flatMap((name) => (options[name] === undefined ? [] : [`--${name}`, options[name]]))
const common = said(["machine", "date", "note", "repeats"])
const peers = said(["folder", "models", "python"])

let failed = 0
for (const [name, compares] of Object.entries(programs)) {
  console.log(`\n${name}`)
  const [command, args] = itself(join(import.meta.dirname, `${name}.ts`), [
    ...common,
    ...(compares ? peers : []),
  ])
  if (spawnSync(command, args, { stdio: "inherit" }).status !== 0) failed++
}
process.exitCode = failed === 0 ? 0 : 1
