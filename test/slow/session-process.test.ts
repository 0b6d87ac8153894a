import { spawn } from "node:child_process"
import { existsSync } from "node:fs"
import { fileURLToPath } from "node:url"
import { describe, expect, test } from "vitest"

const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"
if (!existsSync(SWIFTSHADER))
  console.warn(`session-process.test.ts leaves WebGPU out: there is no ${SWIFTSHADER}.`)

interface Outcome {
  readonly code: number | null
  readonly signal: string | null
  readonly output: string
  readonly errors: string
  /** From the first line that the process printed to its end. */
  readonly endingMs: number
}

/** Runs a script of ./processes in a process of its own. `onOutput` is called when it first prints. */
function runScript(
  name: string,
  args: string[],
  env: Record<string, string> = {},
  onOutput: (pid: number) => void = () => {},
): Promise<Outcome> {
  const script = fileURLToPath(new URL(`./processes/${name}.ts`, import.meta.url))
  const child = spawn(process.execPath, ["--import", "tsx", "--conditions=source", script, ...args], {
    env: { ...process.env, ...env },
  })
  let output = ""
  let errors = ""
  let since = 0
  child.stderr.on("data", (data) => (errors += data))
  child.stdout.on("data", (data) => {
    if (output === "") {
      since = performance.now()
      onOutput(child.pid ?? 0)
    }
    output += data
  })
  return new Promise((resolve) => {
    child.on("close", (code, signal) =>
      resolve({ code, signal, output, errors, endingMs: performance.now() - since }),
    )
  })
}

describe("a process that uses sessions", () => {
  test.each(["close", "leave open"])("ends by itself: %s", async (end) => {
    const { code, output, endingMs } = await runScript("long-run", [end, "1"])
    expect(output).toBe("idle\n")
    expect(code).toBe(0)
    expect(endingMs).toBeLessThan(2000)
  })

  test("that exits during a run ends after it with its own code, not with an abort", async () => {
    const { code, signal, output, errors } = await runScript("long-run", ["exit", "60"])
    expect({ code, signal, output, errors }).toEqual({
      code: 7,
      signal: null,
      output: "running\n",
      errors: "",
    })
  })

  test("that throws during a run says what was thrown", async () => {
    const { code, errors } = await runScript("long-run", ["throw", "60"])
    expect(code).toBe(1)
    expect(errors).toContain("thrown while a graph runs")
    expect(errors).not.toContain("terminate called")
  })

  test.each<NodeJS.Signals>(["SIGINT", "SIGTERM"])("ends at once on %s", async (name) => {
    const { signal, endingMs } = await runScript("long-run", ["run", "2000"], {}, (pid) =>
      process.kill(pid, name),
    )
    expect(signal).toBe(name)
    expect(endingMs).toBeLessThan(2000)
  })
})

describe("a device", () => {
  const expected = { xx: [7, 10, 15, 22], d: [4] }

  test.skipIf(!existsSync(SWIFTSHADER))("is WebGPU where Vulkan has a driver", async () => {
    const { code, output, errors } = await runScript("webgpu", ["webgpu"], { VK_ICD_FILENAMES: SWIFTSHADER })
    expect({ code, errors }).toEqual({ code: 0, errors: "" })
    const { device, xx, d, s } = JSON.parse(output)
    expect({ xx, d: d.map(Math.round) }).toEqual(expected)
    expect(device).toBe("webgpu")
    expect(s[0] + s[1]).toBeCloseTo(1, 6)
  })

  test.skipIf(!existsSync(SWIFTSHADER))("is timed in another process, and quietly", async () => {
    const timed = await runScript("time-webgpu", [], { VK_ICD_FILENAMES: SWIFTSHADER })
    expect(Number(timed.output)).toBeGreaterThan(0)
    expect(await runScript("time-webgpu", [], { VK_ICD_FILENAMES: "/none.json" })).toMatchObject({
      code: 0,
      output: "undefined\n",
      errors: "",
    })
  })

  test("that is not there is told, with those that are", async () => {
    const { code, errors } = await runScript("webgpu", ["webgpu"], { VK_ICD_FILENAMES: "/none.json" })
    expect(code).toBe(1)
    expect(errors).toContain(
      "LimnError: The device webgpu does not work on this machine: choose one of those that do (cpu).",
    )
  })
})
