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
import { openByteSource, writeFileAtomic, writeFileInParts } from "../../src/runtime/platform/node/files.ts"

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

describe("writeFileInParts", () => {
  const head = Uint8Array.of(1, 2, 3)
  const bytesOfPart = (i: number) => new Uint8Array(4 + i).fill(10 + i)
  const whole = Buffer.concat([head, ...[0, 1, 2, 3].map(bytesOfPart)])

  /** Four parts in two pieces each; `seen` is told which are made, and part `fails` is not. */
  function parts(seen: number[], fails = -1) {
    return [0, 1, 2, 3].map((i) => ({
      bytes: 4 + i,
      async *make() {
        seen.push(i)
        yield bytesOfPart(i).subarray(0, 3)
        if (i === fails) throw new LimnError("Stopped.")
        yield bytesOfPart(i).subarray(3)
      },
    }))
  }

  it("writes all of them, and leaves nothing beside", async () => {
    const path = join(folder, "parts.bin")
    await writeFileInParts(path, head, parts([]))
    expect(readFileSync(path).equals(whole)).toBe(true)
    expect(readdirSync(folder).filter((name) => name.includes("parts.bin"))).toEqual(["parts.bin"])
  })

  it.each([
    [0, [0, 1, 2, 3]],
    [1, [0, 1, 2, 3]],
    [2, [1, 2, 3]],
    [3, [2, 3]],
  ])("goes on where it was cut in part %i", async (fails, expected) => {
    const path = join(folder, `cut-${fails}.bin`)
    await expect(writeFileInParts(path, head, parts([], fails))).rejects.toThrow("Stopped.")
    expect(existsSync(path)).toBe(false)
    const seen: number[] = []
    await writeFileInParts(path, head, parts(seen))
    expect(seen).toEqual(expected)
    expect(readFileSync(path).equals(whole)).toBe(true)
  })

  it("begins anew where what is there begins otherwise", async () => {
    const path = join(folder, "other.bin")
    await expect(writeFileInParts(path, Uint8Array.of(3, 2, 1), parts([], 3))).rejects.toThrow("Stopped.")
    const seen: number[] = []
    await writeFileInParts(path, head, parts(seen))
    expect(seen).toEqual([0, 1, 2, 3])
    expect(readFileSync(path).equals(whole)).toBe(true)
  })

  it("makes the same of several at once", async () => {
    const path = join(folder, "several.bin")
    await Promise.all([0, 1, 2].map(() => writeFileInParts(path, head, parts([]))))
    expect(readFileSync(path).equals(whole)).toBe(true)
  })

  it("says what it cannot write", async () => {
    await expect(writeFileInParts(join(folder, "no", "a.bin"), head, parts([]))).rejects.toThrow(
      /^Cannot write .*a\.bin: /,
    )
  })
})
