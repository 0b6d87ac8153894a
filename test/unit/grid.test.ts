import { describe, expect, it, test } from "vitest"
import { parseAxis } from "../../src/cli/axes.ts"
import { UsageError } from "../../src/ground/errors.ts"
import { type Ink, pixels } from "../../src/ground/image.ts"
import { letterRows } from "../../src/ground/letters.ts"
import { axisLabels, checkAxes } from "../../src/recipes/grid-axes.ts"
import { brokenLines, lettering } from "../../src/recipes/lettering.ts"
import { sheet } from "../../src/recipes/sheet.ts"

const ascii = Array.from({ length: 95 }, (_, i) => String.fromCharCode(32 + i))

/** Ink as rows of text. */
function drawn({ width, height, data }: Ink): string[] {
  return Array.from({ length: height }, (_, y) =>
    Array.from(data.subarray(y * width, (y + 1) * width), (covered) => (covered > 127 ? "#" : ".")).join(""),
  )
}

describe("a side of a grid", () => {
  it.each([
    ["steps=4,8,16", { setting: "steps", values: [4, 8, 16] }],
    ["guidance = 1, 2.5", { setting: "guidanceScale", values: [1, 2.5] }],
    ["seed=7,18446744073709551615", { setting: "seed", values: [7, 18446744073709551615n] }],
    ["scheduler=ddim,DPM++ 2M Karras", { setting: "scheduler", values: ["ddim", "DPM++ 2M Karras"] }],
    ["prompt=a cat, black|一颗红心=", { setting: "prompt", values: ["a cat, black", "一颗红心="] }],
    ["negative=,blur", { setting: "negativePrompt", values: ["", "blur"] }],
    ["strength=0.3", { setting: "strength", values: [0.3] }],
    ["variation=0,.5", { setting: "variationStrength", values: [0, 0.5] }],
    ["lora=0,1", { setting: "loraScale", values: [0, 1] }],
  ])("is read from %j", (text, axis) => {
    expect(parseAxis(text, "--x")).toEqual(axis)
  })

  it.each([
    ["steps", /--x is "steps"; give a setting and its values, as in steps=4,8,16, of prompt, .*lora/],
    ["colour=red", /of prompt, negative/],
    ["toString=1", /of prompt, negative/],
    ["steps=4,,8", /a value before and after each mark/],
    ["steps=", /a value before and after each mark/],
    ["steps=4,many", /--x has "many"; give numbers/],
    ["seed=1.5", /the seed "1.5"; give whole numbers/],
    ["seed=18446744073709551616", /outside 0 to/],
  ])("is refused as %j", (text, message) => {
    expect(() => parseAxis(text, "--x")).toThrow(UsageError)
    expect(() => parseAxis(text, "--x")).toThrow(message)
  })

  it("is labelled, also where there are no letters for its values", () => {
    expect(axisLabels({ setting: "guidanceScale", values: [1, 7.5] }).map(({ text }) => text)).toEqual([
      "guidance 1",
      "guidance 7.5",
    ])
    expect(axisLabels({ setting: "prompt", values: ["一颗红心"] })).toEqual([
      { text: "一颗红心", plain: "prompt 1" },
    ])
    expect(axisLabels({ setting: "negativePrompt", values: ["", "blur"] }).map(({ text }) => text)).toEqual([
      "not: -",
      "not: blur",
    ])
  })

  it("is not the other side, and not empty", () => {
    const steps = { setting: "steps", values: [4] } as const
    expect(() => checkAxes([steps, steps])).toThrow("Both sides of the grid are steps")
    expect(() => checkAxes([steps, { setting: "seed", values: [] }])).toThrow("seed has no values")
  })
})

describe("letters", () => {
  it("are there for all of ASCII, each another, within five bits", () => {
    const rows = ascii.map(letterRows)
    expect(new Set(rows.map(String)).size).toBe(95)
    for (const letter of rows) {
      expect(letter).toHaveLength(9)
      expect(Math.max(...letter!)).toBeLessThan(32)
    }
    for (const none of ["é", "一", "\n", "\x7f", "ab"]) expect(letterRows(none)).toBeUndefined()
  })

  it("stand side by side, as large as asked", async () => {
    // The first line has one row above and two below, which belong to the room between lines.
    expect(drawn((await lettering("Lg", { scale: 1, maxWidth: 100 }))!)).toEqual([
      "...........",
      "#..........",
      "#..........",
      "#......####",
      "#.....#...#",
      "#.....#...#",
      "#.....#...#",
      "#####..####",
      "..........#",
      ".......###.",
      "...........",
      "...........",
    ])
    const twice = (await lettering("Lg", { scale: 2, maxWidth: 100 }))!
    expect([twice.width, twice.height]).toEqual([22, 24])
  })

  it("are broken into lines between words, then within them", () => {
    expect(brokenLines("a red heart", 10)).toEqual(["a red", "heart"])
    expect(brokenLines("a red heart", 11)).toEqual(["a red heart"])
    expect(brokenLines("DPMSolverMultistep", 8)).toEqual(["DPMSolve", "rMultist", "ep"])
    expect(brokenLines("  spaces   between ", 20)).toEqual(["spaces   between"])
    expect(brokenLines("", 5)).toEqual([""])
  })

  it("count twice where they are wide, and may end a line anywhere", () => {
    expect(brokenLines("一颗红心，白色背景", 10)).toEqual(["一颗红心，", "白色背景"])
    expect(brokenLines("红heart心", 7)).toEqual(["红heart", "心"])
  })

  it("end in dots after three lines", () => {
    expect(brokenLines("one two three four five", 5)).toEqual(["one", "two", "th..."])
  })
})

describe("a sheet", () => {
  const cell = (value: number) => pixels(16, 12, 3, new Uint8Array(3 * 16 * 12).fill(value))
  const at = ({ width, data }: { width: number; data: Uint8Array }, x: number, y: number) =>
    data[3 * (y * width + x)]

  test("has the pictures in their places, and ink above and beside them only", async () => {
    const label = (text: string) => ({ text, plain: text })
    const cells = [
      [cell(1), cell(2)],
      [cell(3), cell(4)],
    ]
    const { pixels: page, replaced } = await sheet({
      cells,
      columns: [label("a"), label("b")],
      rows: [label("c"), label("d")],
    })
    expect(replaced).toEqual([])
    // One letter is 5 wide, and a line 12 high; 4 around everything.
    expect([page.width, page.height]).toEqual([4 + 5 + 4 + 2 * 20, 4 + 12 + 4 + 2 * 16])
    for (const [n, [x, y]] of [
      [13, 20],
      [33, 20],
      [13, 36],
      [33, 36],
    ].entries()) {
      expect([at(page, x, y), at(page, x + 15, y + 11)]).toEqual([n + 1, n + 1])
      expect([at(page, x - 1, y), at(page, x + 16, y), at(page, x, y + 12)]).toEqual([255, 255, 255])
    }
    const dark = (x0: number, y0: number, x1: number, y1: number) => {
      let count = 0
      for (let y = y0; y < y1; y++) for (let x = x0; x < x1; x++) if (at(page, x, y) === 40) count++
      return count
    }
    const inkOf = (letter: string) =>
      letterRows(letter)!.reduce((sum, row) => sum + row.toString(2).replaceAll("0", "").length, 0)
    expect([dark(13, 0, 29, 20), dark(33, 0, 49, 20)]).toEqual([inkOf("a"), inkOf("b")])
    expect([dark(0, 20, 13, 32), dark(0, 36, 13, 48)]).toEqual([inkOf("c"), inkOf("d")])
  })

  test("says which labels it could not write", async () => {
    const lost = { text: "\ue000", plain: "prompt 1" }
    const { replaced, pixels: page } = await sheet({ cells: [[cell(0)]], columns: [lost], rows: [] })
    expect(replaced).toEqual([lost])
    expect(page.data.includes(40)).toBe(true)
  })
})
