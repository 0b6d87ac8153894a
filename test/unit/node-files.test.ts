import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { afterAll, beforeEach, describe, expect, it } from "vitest"
import { FormatError, LimnError } from "../../src/ground/errors.ts"
import { openByteSource, writeFileAtomic } from "../../src/runtime/platform/node/files.ts"

const root = mkdtempSync(join(tmpdir(), "limn-files-"))
let folder = ""
beforeEach(() => {
  folder = mkdtempSync(join(root, "case-"))
})
afterAll(() => rmSync(root, { recursive: true }))

const bytes = Uint8Array.from({ length: 1000 }, (_, i) => i % 251)

describe("openByteSource", () => {
  it("reads anywhere, in any order", () => {
    const path = join(folder, "a.bin")
    writeFileSync(path, bytes)
    const source = openByteSource(path)
    expect(source).toMatchObject({ name: path, size: 1000 })
    for (const [offset, length] of [
      [900, 100],
      [0, 8],
      [1000, 0],
      [3, 501],
    ])
      expect(source.read(offset, length)).toEqual(bytes.slice(offset, offset + length))
    source.close()
  })

  it("reads beyond 4 GiB of a (sparse) file", () => {
    const path = join(folder, "large.bin")
    writeFileSync(path, "")
    truncateSync(path, 2 ** 32 + 10)
    writeFileSync(path, bytes, { flag: "a" })
    const source = openByteSource(path)
    expect(source.read(2 ** 32 + 11, 5)).toEqual(bytes.slice(1, 6))
    source.close()
  })

  it("refuses to read beyond the end, before taking the memory", () => {
    const path = join(folder, "a.bin")
    writeFileSync(path, bytes)
    const source = openByteSource(path)
    for (const [offset, length] of [
      [0, 1001],
      [1000, 1],
      [-1, 2],
      [1, -1],
      [0, 2 ** 52],
    ])
      expect(() => source.read(offset, length)).toThrow(FormatError)
    source.close()
  })

  it("notices that the file has shrunk", () => {
    const path = join(folder, "a.bin")
    writeFileSync(path, bytes)
    const source = openByteSource(path)
    truncateSync(path, 500)
    expect(() => source.read(400, 200)).toThrow(/a\.bin ends before byte 600.*fetch it again/)
    source.close()
  })

  it("says which file is missing, or is none", () => {
    expect(() => openByteSource(join(folder, "absent"))).toThrow(LimnError)
    expect(() => openByteSource(join(folder, "absent"))).toThrow(/Cannot open .*absent/)
    expect(() => openByteSource(folder)).toThrow(/it is not a file/)
  })
})

describe("writeFileAtomic", () => {
  it("writes all chunks, and leaves nothing beside", async () => {
    const path = join(folder, "a.bin")
    writeFileSync(path, "before")
    await writeFileAtomic(path, [bytes.subarray(0, 1), new Uint8Array(0), bytes.subarray(1)])
    expect(new Uint8Array(readFileSync(path))).toEqual(bytes)
    expect(readdirSync(folder)).toEqual(["a.bin"])
  })

  it("keeps the old file, and nothing else, where the chunks fail", async () => {
    const path = join(folder, "a.bin")
    writeFileSync(path, "before")
    async function* failing() {
      yield bytes
      expect(readdirSync(folder)).toHaveLength(2)
      throw new Error("the disk is tired")
    }
    await expect(writeFileAtomic(path, failing())).rejects.toThrow(
      /^Cannot write .*a\.bin: the disk is tired\.$/,
    )
    expect(readFileSync(path, "utf8")).toBe("before")
    expect(readdirSync(folder)).toEqual(["a.bin"])
  })

  it("hands on what the chunks say is wrong", async () => {
    const wrong = new FormatError("The checkpoint is torn.")
    const failing = (function* (): Generator<Uint8Array> {
      yield bytes
      throw wrong
    })()
    await expect(writeFileAtomic(join(folder, "a.bin"), failing)).rejects.toBe(wrong)
    expect(readdirSync(folder)).toEqual([])
  })

  it("removes its part where the place is taken by a folder, and says so where there is no folder", async () => {
    await expect(writeFileAtomic(folder, [bytes])).rejects.toThrow(LimnError)
    expect(readdirSync(root).filter((name) => name.endsWith(".part"))).toEqual([])
    await expect(writeFileAtomic(join(folder, "no", "a.bin"), [bytes])).rejects.toThrow(
      /Cannot write .*ENOENT/,
    )
    expect(existsSync(join(folder, "no"))).toBe(false)
  })

  it("lets many write one file at once: one of them is there whole", async () => {
    const path = join(folder, "a.bin")
    const contents = Array.from({ length: 8 }, (_, i) => new Uint8Array(4096).fill(i))
    await Promise.all(contents.map((content) => writeFileAtomic(path, [content, content])))
    const written = readFileSync(path)
    expect(written).toHaveLength(8192)
    expect(new Set(written).size).toBe(1)
  })
})
