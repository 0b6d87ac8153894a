import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, describe, expect, test, vi } from "vitest"
import * as browser from "../../src/runtime/platform/browser/index.ts"
import * as node from "../../src/runtime/platform/node/index.ts"
import type { Platform } from "../../src/runtime/platform/platform.ts"

// The compiler checks both against the interface here.
const halves: Record<string, Platform> = { node, browser }

test("the halves have the same names", () => {
  expect(Object.keys(halves.browser).sort()).toEqual(Object.keys(halves.node).sort())
})

describe("the browser's half", () => {
  afterAll(() => vi.unstubAllGlobals())

  test.each([
    [["models", "unet/a.json"], "https://limn.test/app/models/unet/a.json"],
    [["/models", "./unet/"], "https://limn.test/models/unet"],
    [["/models/config.json", ".."], "https://limn.test/models"],
    [["https://hub.test/model", "vae", "../unet"], "https://hub.test/model/unet"],
    [[], "https://limn.test/app"],
  ])("joins addresses as Node joins paths: %s", (parts, expected) => {
    vi.stubGlobal("location", { href: "https://limn.test/app/page.html?seed=1" })
    expect(browser.absolutePath(...parts)).toBe(expected)
  })

  test("says what a browser cannot do", async () => {
    await expect(browser.list("/models")).rejects.toThrow("A browser cannot list what is in /models")
    await expect(browser.makeFolder("/out")).rejects.toThrow("A browser cannot make the folder /out.")
    await expect(browser.writeFileAtomic("/out/a.png")).rejects.toThrow("A browser cannot write /out/a.png")
  })
})

describe("Node's half", () => {
  const root = mkdtempSync(join(tmpdir(), "limn-platform-"))
  afterAll(() => rmSync(root, { recursive: true }))
  mkdirSync(join(root, "unet"))
  writeFileSync(join(root, "model_index.json"), '{"name": "ünet"}')
  const none = join(root, "none.txt")

  test("reads files", async () => {
    const path = join(root, "model_index.json")
    expect(await node.readText(path)).toBe('{"name": "ünet"}')
    expect((await node.readBytes(path)).length).toBe(17)
    const source = node.openByteSource(path)
    expect(new TextDecoder().decode(source.read(2, 4))).toBe("name")
    source.close()
  })

  test("says what is there", async () => {
    expect(await node.list(root)).toEqual(["model_index.json", "unet"])
    expect([await node.exists(join(root, "unet")), await node.exists(none)]).toEqual([true, false])
  })

  test("names the file that is not there", async () => {
    const message = new RegExp(`^Cannot (read|open) ${none}: `)
    await expect(node.readText(none)).rejects.toThrow(message)
    await expect(node.readBytes(none)).rejects.toThrow(message)
    await expect(node.list(none)).rejects.toThrow(message)
    expect(() => node.openByteSource(none)).toThrow(message)
  })

  test("knows the machine", () => {
    expect(node.cpuCount()).toBeGreaterThan(0)
    const held = new Uint8Array(200_000_000).fill(1)
    expect(node.peakMemoryBytes()).toBeGreaterThan(held.length)
  })
})
