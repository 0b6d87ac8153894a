import { existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { dirname, join } from "node:path"
import { Readable, Writable } from "node:stream"
import { afterEach, beforeEach, describe, expect, it } from "vitest"
import { formatBytes, formatCount, formatDuration, formatTable } from "../../src/cli/format.ts"
import { openPlace, shownPath, slug } from "../../src/cli/places.ts"
import { liveText, previewKind, previewText } from "../../src/cli/preview.ts"
import { paceMeter, progressOn, progressText } from "../../src/cli/progress.ts"
import { readPrompts } from "../../src/cli/prompts.ts"
import { LimnError, UsageError } from "../../src/ground/errors.ts"
import { pixels } from "../../src/ground/image.ts"

describe("prompts", () => {
  const piped = (text: string) => Readable.from([text]) as unknown as NodeJS.ReadStream
  const terminal = Object.assign(Readable.from([]), { isTTY: true }) as unknown as NodeJS.ReadStream

  it("are one where words have no quotes, and one each where they have", async () => {
    expect(await readPrompts(["a", "red", "heart"])).toEqual(["a red heart"])
    expect(await readPrompts(["a red heart"])).toEqual(["a red heart"])
    expect(await readPrompts(["a red heart", "a blue apple"])).toEqual(["a red heart", "a blue apple"])
    expect(await readPrompts(["红心"])).toEqual(["红心"])
  })

  it("come from standard input, a line each", async () => {
    expect(await readPrompts([], { input: piped("\ufeffa cat\r\n\n  一颗红心 \na dog") })).toEqual([
      "a cat",
      "一颗红心",
      "a dog",
    ])
  })

  it("come from a file, a line each", async () => {
    const file = join(mkdtempSync(join(tmpdir(), "limn-prompts-")), "prompts.txt")
    writeFileSync(file, "\ufeffa cat\r\n\n  一颗红心 \n# of stars\n")
    expect(await readPrompts([], { file, input: piped("a dog") })).toEqual([
      "a cat",
      "一颗红心",
      "# of stars",
    ])
    await expect(readPrompts(["a dog"], { file })).rejects.toThrow(
      '--prompts gives what to draw, and so does "a dog"',
    )
    writeFileSync(file, "\n \n")
    await expect(readPrompts([], { file })).rejects.toThrow(`There is no prompt in ${file}`)
    rmSync(dirname(file), { recursive: true })
    await expect(readPrompts([], { file })).rejects.toThrow(LimnError)
  })

  it("must be given", async () => {
    await expect(readPrompts([], { input: piped("\n \n") })).rejects.toThrow(UsageError)
    await expect(readPrompts([" "])).rejects.toThrow("There is no prompt")
    await expect(readPrompts([], { input: terminal })).rejects.toThrow("There is no prompt")
  })
})

describe("places", () => {
  let folder: string
  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "limn-places-"))
  })
  afterEach(() => rmSync(folder, { recursive: true }))

  it.each([
    ["a red heart", "red-heart"],
    ["The Great Wave, 1831!", "great-wave-1831"],
    ["一颗红心", "一颗红心"],
    ["蓝色的苹果，三个", "蓝色的苹果-三个"],
    ["Fußgänger & café", "fußgänger-café"],
    ["../../etc/passwd", "etc-passwd"],
    ["❤️", "picture"],
    ["a", "a"],
  ])("%j is named %s", (prompt, name) => {
    expect(slug(prompt)).toBe(name)
  })

  it("keeps names short, and characters whole", () => {
    const long = slug("word ".repeat(100))
    expect(long).toMatch(/^(word-)+word$/)
    for (const name of [long, slug("心".repeat(300)), slug("𠮷".repeat(300))]) {
      expect(Buffer.byteLength(name)).toBeLessThanOrEqual(120)
      expect(name).not.toMatch(/\p{Surrogate}/u)
    }
  })

  it("never takes the name of a file that is there", () => {
    const place = openPlace(folder, 3)
    const names = [1, 2, 3].map(() => {
      const path = place.next("a red heart", 7)
      writeFileSync(path, "")
      return path
    })
    expect(names).toEqual(
      ["red-heart-7.png", "red-heart-7-2.png", "red-heart-7-3.png"].map((n) => join(folder, n)),
    )
  })

  it("takes folders that are still to be made, and a file's name as it is", () => {
    expect(openPlace(join(folder, "deep/er/"), 1).next("a cat", 1)).toBe(join(folder, "deep/er/cat-1.png"))
    expect(openPlace(join(folder, "v1.5"), 1).next("a cat", 1)).toBe(join(folder, "v1.5/cat-1.png"))
    const path = join(folder, "mine/heart.PNG")
    expect(openPlace(path, 1).next("a cat", 1)).toBe(path)
    expect(readdirSync(folder)).toEqual([])
  })

  it("numbers several pictures of one file's name", () => {
    const place = openPlace(join(folder, "heart.png"), 2)
    expect([place.next("a", 1), place.next("b", 2)]).toEqual(
      [1, 2].map((n) => join(folder, `heart-${n}.png`)),
    )
  })

  it("refuses other pictures than PNG, and folders that cannot be", () => {
    expect(() => openPlace(join(folder, "heart.jpg"), 1)).toThrow(UsageError)
    writeFileSync(join(folder, "file"), "")
    expect(() => openPlace(join(folder, "file/below"), 1)).toThrow(LimnError)
    expect(() => openPlace(join(folder, "file/below/heart.png"), 1)).toThrow("Cannot write into")
    expect(existsSync(join(folder, "heart.jpg"))).toBe(false)
  })

  it("shows paths as the user sees them", () => {
    expect(shownPath("/home/me/pictures/a.png", "/home/me")).toBe(join("pictures", "a.png"))
    expect(shownPath("/elsewhere/a.png", "/home/me")).toBe("/elsewhere/a.png")
    expect(shownPath("a.png")).toBe("a.png")
  })
})

describe("progress", () => {
  it("shows a bar, the count and what is left", () => {
    const state = { label: "drawing", done: 5, total: 20 }
    expect(progressText(state, 3100, true, 80)).toBe(
      `drawing  ${"━".repeat(7)}${"─".repeat(19)}  5/20  3.1 s left`,
    )
    expect(progressText({ label: "loading" }, 400, false, 80)).toBe("loading  0.40 s")
    const bytes = { label: "fetching", done: 1.2e9, total: 3.44e9, unit: "bytes", note: "12.0 MB/s" } as const
    expect(progressText(bytes, 187_000, true, 80)).toBe(
      `fetching  ${"━".repeat(6)}${"─".repeat(10)}  1.20 GB of 3.44 GB  12.0 MB/s  3 min 7 s left`,
    )
  })

  it.each([20, 30, 40, 60, 200])("fits a terminal of %d columns", (columns) => {
    for (const done of [0, 7, 20]) {
      const state = { label: "training", done, total: 20, note: "loss 0.123  51.2 samples/s" }
      expect(progressText(state, 3_600_000, true, columns).length).toBeLessThan(columns)
    }
  })

  it("reckons from the first count on, since what came before was preparation", () => {
    const pace = paceMeter()
    pace.see({ label: "loading" }, 0)
    pace.see({ label: "drawing", done: 1, total: 11 }, 50_000)
    expect(pace.remaining({ label: "drawing", done: 1, total: 11 }, 50_000)).toBeUndefined()
    expect(pace.perSecond()).toBeUndefined()
    pace.see({ label: "drawing", done: 3, total: 11 }, 52_000)
    expect(pace.remaining({ label: "drawing", done: 3, total: 11 }, 52_000)).toBe(8000)
    expect(pace.perSecond()).toBe(1)
    expect(pace.remaining({ label: "drawing", done: 3, total: 11 }, 52_500)).toBe(7500)
    expect(pace.remaining({ label: "drawing", done: 3, total: 11 }, 99_000)).toBe(0)
    expect(pace.remaining({ label: "drawing", done: 11, total: 11 }, 99_000)).toBeUndefined()
  })
})

describe("the progress on a terminal", () => {
  /** A stream that passes for a terminal, and the screen that its text makes. */
  function terminal() {
    let text = ""
    const stream = Object.assign(new Writable(), {
      isTTY: true,
      columns: 40,
      write: (more: string) => {
        text += more
        return true
      },
    }) as unknown as NodeJS.WriteStream
    return { stream, screen: () => screenOf(text) }
  }

  it("has its picture above its line, and takes both away", () => {
    const { stream, screen } = terminal()
    const progress = progressOn(stream)
    stream.write("before\n")
    progress.show({ label: "drawing", done: 1, total: 4 })
    expect(screen()).toEqual(["before", expect.stringMatching(/^drawing .* 1\/4$/)])
    for (const picture of ["ab\ncd\n", "ef\ngh\nij\n", "kl\n"]) {
      progress.show({ label: "drawing", done: 2, total: 4, picture })
      const lines = picture.trimEnd().split("\n")
      expect(screen()).toEqual(["before", ...lines, expect.stringMatching(/^drawing .* 2\/4/)])
    }
    progress.show({ label: "drawing", done: 3, total: 4 })
    expect(screen()).toEqual(["before", expect.stringMatching(/^drawing .* 3\/4/)])
    progress.show({ label: "drawing", done: 4, total: 4, picture: "mn\nop\n" })
    progress.clear()
    expect(screen()).toEqual(["before", ""])
  })

  /** The lines that a terminal shows after such a text, as far as limn's codes go. */
  function screenOf(text: string): string[] {
    const lines = [""]
    let [row, column] = [0, 0]
    for (const [part, up] of text.replaceAll("\x1b", "␛").matchAll(/␛\[(\d*)[AKJ]|[^␛]/g)) {
      if (up) row -= Number(up)
      else if (part === "␛[K") lines[row] = lines[row].slice(0, column)
      else if (part === "␛[J") lines.splice(row, lines.length, lines[row].slice(0, column))
      else if (part === "\r") column = 0
      else if (part === "\n") {
        row++
        column = 0
        if (row === lines.length) lines.push("")
      } else {
        lines[row] = lines[row].slice(0, column) + part + lines[row].slice(column + 1)
        column++
      }
    }
    return lines
  }
})

describe("previews", () => {
  it("are live where a terminal has colours and room", () => {
    const picture = pixels(4, 4, 3, new Uint8Array(48).fill(7))
    const terminal = { isTTY: true, columns: 80, rows: 24, getColorDepth: () => 24 }
    const blocks = previewText(picture, new Uint8Array(), "blocks", 80)
    for (const env of [{}, { TERM: "xterm-kitty" }]) expect(liveText(picture, env, terminal)).toBe(blocks)
    expect(liveText(picture, {}, { ...terminal, rows: 17 })).toBeUndefined()
    expect(liveText(picture, {}, { ...terminal, getColorDepth: () => 4 })).toBeUndefined()
    expect(liveText(picture, { TERM: "dumb" }, terminal)).toBeUndefined()
  })

  it.each([
    [{ TERM: "xterm-kitty" }, 24, "kitty"],
    [{ TERM_PROGRAM: "ghostty", TERM: "xterm-ghostty" }, 24, "kitty"],
    [{ TERM_PROGRAM: "iTerm.app" }, 24, "iterm2"],
    [{ TERM_PROGRAM: "WezTerm" }, 24, "iterm2"],
    [{ TERM: "xterm-256color" }, 24, "blocks"],
    [{ TERM: "screen-256color", TMUX: "/tmp/x", KITTY_WINDOW_ID: "1" }, 8, "blocks"],
    [{ TERM: "xterm-256color" }, 8, undefined],
    [{ TERM: "xterm-256color", NO_COLOR: "1" }, 24, undefined],
    [{ TERM: "dumb" }, 24, undefined],
  ])("in %j of %d bits: %s", (env, depth, kind) => {
    expect(previewKind(env, depth)).toBe(kind)
  })

  it("draws two pixels in each cell, means of the picture's", () => {
    const picture = pixels(2, 4, 3, Uint8Array.from([255, 0, 0, 0, 0, 0, ...new Array(18).fill(9)]))
    expect(previewText(picture, new Uint8Array(), "blocks", 80)).toBe(
      "\x1b[38;2;255;0;0m\x1b[48;2;9;9;9m▀\x1b[38;2;0;0;0m\x1b[48;2;9;9;9m▀\x1b[0m\n" +
        "\x1b[38;2;9;9;9m\x1b[48;2;9;9;9m▀\x1b[38;2;9;9;9m\x1b[48;2;9;9;9m▀\x1b[0m\n",
    )
    expect(previewText(picture, new Uint8Array(), "blocks", 1)).toBe(
      "\x1b[38;2;68;5;5m\x1b[48;2;9;9;9m▀\x1b[0m\n",
    )
  })

  it("never is wider or taller than its place", () => {
    for (const [width, height] of [
      [64, 64],
      [200, 100],
      [40, 300],
      [1, 1],
    ]) {
      const picture = pixels(width, height, 4, new Uint8Array(width * height * 4))
      const lines = previewText(picture, new Uint8Array(), "blocks", 30).trimEnd().split("\n")
      expect(lines.length).toBeLessThanOrEqual(16)
      for (const line of lines) expect(line.split("▀").length - 1).toBeLessThanOrEqual(30)
    }
  })

  it("sends the file itself where terminals take it", () => {
    const png = Uint8Array.from({ length: 10_000 }, (_, i) => i % 251)
    const picture = pixels(1, 1, 3, new Uint8Array(3))
    const kitty = previewText(picture, png, "kitty", 80)
    const pieces = kitty.split("\x1b\\").slice(0, -1)
    for (const piece of pieces) expect(piece).toMatch(/^._G[\w=,]+;[\w+/=]{1,4096}$/)
    expect(pieces.map((piece) => /m=(\d);/.exec(piece)?.[1])).toEqual(["1", "1", "1", "0"])
    expect(decoded(pieces.map((piece) => piece.split(";")[1]).join("")).equals(png)).toBe(true)
    const [keys, data] = previewText(picture, png, "iterm2", 80).split(":")
    expect(keys).toContain("]1337;File=inline=1;size=10000;")
    expect(data.endsWith("\x07\n")).toBe(true)
    expect(decoded(data).equals(png)).toBe(true)
  })

  function decoded(base64: string): Buffer {
    return Buffer.from(base64, "base64")
  }
})

describe("numbers for people", () => {
  it.each([
    [420, "0.42 s"],
    [3140, "3.1 s"],
    [9960, "10 s"],
    [59_700, "1 min 0 s"],
    [125_000, "2 min 5 s"],
    [3_600_000, "1 h 0 min"],
    [12_000_000, "3 h 20 min"],
  ])("%d ms is %s", (ms, text) => {
    expect(formatDuration(ms)).toBe(text)
  })

  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.00 kB"],
    [999_999, "1.00 MB"],
    [17_560_000, "17.6 MB"],
    [3_438_083_856, "3.44 GB"],
  ])("%d bytes are %s", (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text)
  })

  it("counts and tables", () => {
    expect(formatCount(859_520_964)).toBe("859,520,964")
    expect(
      formatTable(
        [
          ["a", "1"],
          ["long", "100"],
        ],
        [1],
      ),
    ).toBe("a       1\nlong  100")
    expect(formatTable([])).toBe("")
  })
})
