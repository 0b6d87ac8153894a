import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { tmpdir } from "node:os"
import { extname, join } from "node:path"
import { fileURLToPath } from "node:url"
import type { Browser } from "playwright-core"
import { chromium } from "playwright-core"
import { build, defaultClientConditions } from "vite"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import type { Report } from "./browser/page.ts"

const CHROMIUM = "/usr/bin/chromium"
const SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"
const runs = existsSync(CHROMIUM)
if (!runs) console.warn(`browser.test.ts is skipped: there is no ${CHROMIUM}.`)
const webgpu = existsSync(SWIFTSHADER)
if (runs && !webgpu) console.warn(`browser.test.ts leaves WebGPU out: there is no ${SWIFTSHADER}.`)

const types: Record<string, string> = {
  ".html": "text/html",
  ".js": "text/javascript",
  ".mjs": "text/javascript",
  ".wasm": "application/wasm",
}
/** Four numbers after three other bytes, and a text. */
const served: Record<string, Buffer> = {
  "/weights.bin": Buffer.concat([
    Buffer.of(7, 7, 7),
    Buffer.from(Float32Array.of(100, 200, 300, 400).buffer),
  ]),
  "/hello.txt": Buffer.from("good day"),
}

describe.skipIf(!runs)("limn in a browser", () => {
  const folder = mkdtempSync(join(tmpdir(), "limn-page-"))
  const server = createServer((request, response) => {
    const path = request.url === "/" ? "/index.html" : (request.url ?? "")
    const file = join(folder, path)
    const body = served[path] ?? (existsSync(file) ? readFileSync(file) : undefined)
    response.writeHead(body === undefined ? 404 : 200, {
      "Content-Type": types[extname(path)] ?? "application/octet-stream",
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
    })
    response.end(body)
  })
  let browser: Browser
  let report: Report

  beforeAll(async () => {
    await build({
      root: fileURLToPath(new URL("./browser", import.meta.url)),
      logLevel: "error",
      resolve: { conditions: ["source", ...defaultClientConditions] },
      worker: { format: "es" },
      build: { outDir: folder, emptyOutDir: true, minify: false },
    })
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve))
    browser = await chromium.launch({
      executablePath: CHROMIUM,
      args: [
        "--no-sandbox",
        "--disable-background-networking",
        "--enable-unsafe-webgpu",
        "--use-webgpu-adapter=swiftshader",
        "--enable-features=Vulkan",
      ],
    })
    const page = await browser.newPage()
    page.on("pageerror", (error) => console.error(error))
    await page.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`)
    report = await page.evaluate(
      (on) => (window as unknown as { report: (on: boolean) => Promise<Report> }).report(on),
      webgpu,
    )
  }, 120_000)

  afterAll(async () => {
    await browser?.close()
    server.close()
    rmSync(folder, { recursive: true })
  })

  test("runs a graph on the CPU, its weights fetched or in memory", () => {
    expect(report.isolated).toBe(true)
    expect(report.fetched).toEqual([107, 210, 315, 422])
    expect(report.inMemory).toEqual(report.fetched)
  })

  test.skipIf(!webgpu)("runs it on WebGPU", () => {
    expect(report.webgpu).toEqual(report.fetched)
  })

  test("leaves the page free while a graph runs", () => {
    expect(report.ticks).toBeGreaterThan(3)
  })

  test("reads files of the server", () => {
    expect(report.text).toBe("good day")
    expect(report.there).toEqual([true, false])
    expect(report.noFile).toBe("Cannot fetch /none.txt: the server answers 404.")
  })

  test("draws text, cut to its ink", () => {
    const { width, height, data } = report.ink!
    // An H, and three letters as narrow as its strokes.
    expect(width).toBeGreaterThan(15)
    expect(width).toBeLessThan(45)
    expect(height).toBeGreaterThan(10)
    expect(height).toBeLessThan(22)
    const dark = Array.from({ length: height }, (_, y) => data[y * width + 2]).filter((ink) => ink > 100)
    expect(dark.length).toBeGreaterThan(height / 2)
  })

  test("refuses in the same words as on Node", () => {
    expect(report.noDevice).toMatch(/^The device cuda does not work on this machine: .*\(.*cpu\)\.$/)
    expect(report.noNode).toBe(
      "ONNX Runtime refuses page: No Op registered for Foo with domain_version of 21.",
    )
  })
})
