import { execFile } from "node:child_process"
import { createRequire } from "node:module"
import { fileURLToPath } from "node:url"
import type { Device } from "../platform.ts"

const PATIENCE_MS = 20_000

/** Asks in another process, so that a driver that crashes, hangs or prints does so there. */
export function timeDevice(device: Device, size: number): Promise<number | undefined> {
  const source = import.meta.url.endsWith(".ts")
  // Node 20 reads TypeScript only through tsx.
  const loader = source ? ["--import", createRequire(import.meta.url).resolve("tsx")] : []
  const script = fileURLToPath(new URL(`./probe-process.${source ? "ts" : "js"}`, import.meta.url))
  return new Promise((resolve) => {
    const args = [...loader, script, device, String(size)]
    execFile(process.execPath, args, { timeout: PATIENCE_MS, killSignal: "SIGKILL" }, (_, printed) => {
      resolve(printed === "" ? undefined : Number(printed))
    })
  })
}
