import { crc32, deflateSync } from "node:zlib"
import sharp from "sharp"
import { describe, expect, it } from "vitest"
import { decodePng, encodePng } from "../../src/formats/png.ts"
import { readPngText } from "../../src/formats/png-text.ts"
import { FormatError, LimnError } from "../../src/ground/errors.ts"
import type { Pixels } from "../../src/ground/image.ts"
import { pixels } from "../../src/ground/image.ts"
import { type Dice, dice, fuzzRounds } from "./dice.ts"

const SIGNATURE = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])

function chunk(type: string, data: Uint8Array | string): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), Buffer.from(data as string, "latin1")])
  const out = Buffer.alloc(body.length + 8)
  out.writeUInt32BE(body.length - 4)
  body.copy(out, 4)
  out.writeUInt32BE(crc32(body), body.length + 4)
  return out
}

const fileOf = (...chunks: Buffer[]) =>
  new Uint8Array(Buffer.concat([SIGNATURE, ...chunks, chunk("IEND", "")]))

interface Kind {
  colourType: number
  depth: number
  interlaced: boolean
}

function header(width: number, height: number, { colourType, depth, interlaced }: Kind): Buffer {
  const data = Buffer.alloc(13)
  data.writeUInt32BE(width)
  data.writeUInt32BE(height, 4)
  data.set([depth, colourType, 0, 0, interlaced ? 1 : 0], 8)
  return chunk("IHDR", data)
}

const samplesOf: Record<number, number> = { 0: 1, 2: 3, 3: 1, 4: 2, 6: 4 }

const kinds: Kind[] = [
  ...[1, 2, 4, 8, 16].map((depth) => ({ colourType: 0, depth })),
  ...[1, 2, 4, 8].map((depth) => ({ colourType: 3, depth })),
  ...[2, 4, 6].flatMap((colourType) => [8, 16].map((depth) => ({ colourType, depth }))),
].flatMap((kind) => [false, true].map((interlaced) => ({ ...kind, interlaced })))

/**
 * A picture of random samples, written here independently of the code under test: bit by bit, pass by pass after
 * Adam7's picture of eight by eight, each row through a filter drawn at random.
 */
function randomPng({ below, pick }: Dice, kind: Kind, transparent: boolean) {
  const { colourType, depth, interlaced } = kind
  const count = samplesOf[colourType]
  const width = 1 + below(19)
  const height = 1 + below(19)
  const entries = 2 ** Math.min(depth, 5)
  const limit = colourType === 3 ? entries : 2 ** depth
  const samples = Array.from({ length: width * height * count }, () => pick([0, limit - 1, below(limit)]))
  const palette = Array.from({ length: entries * 3 }, () => below(256))
  const alphas = Array.from({ length: below(entries + 1) }, () => below(256))
  const key = samples.slice(0, count)

  const order = [
    [1, 6, 4, 6, 2, 6, 4, 6],
    [7, 7, 7, 7, 7, 7, 7, 7],
    [5, 6, 5, 6, 5, 6, 5, 6],
    [7, 7, 7, 7, 7, 7, 7, 7],
    [3, 6, 4, 6, 3, 6, 4, 6],
    [7, 7, 7, 7, 7, 7, 7, 7],
    [5, 6, 5, 6, 5, 6, 5, 6],
    [7, 7, 7, 7, 7, 7, 7, 7],
  ]
  const bytes: number[] = []
  const bpp = Math.max(1, (depth * count) / 8)
  for (let pass = 1; pass <= (interlaced ? 7 : 1); pass++) {
    let above: number[] = []
    for (let y = 0; y < height; y++) {
      let bits = ""
      for (let x = 0; x < width; x++)
        if (!interlaced || order[y % 8][x % 8] === pass)
          for (let c = 0; c < count; c++)
            bits += samples[(y * width + x) * count + c].toString(2).padStart(depth, "0")
      if (bits === "") continue
      const row = (bits.match(/.{1,8}/g) ?? []).map((byte) => Number.parseInt(byte.padEnd(8, "0"), 2))
      const filter = below(5)
      bytes.push(filter)
      for (const [i, byte] of row.entries()) {
        const a = row[i - bpp] ?? 0
        const b = above[i] ?? 0
        const c = above[i - bpp] ?? 0
        const nearest = [a, b, c].sort((m, n) => Math.abs(a + b - c - m) - Math.abs(a + b - c - n))[0]
        bytes.push((byte - [0, a, b, Math.floor((a + b) / 2), nearest][filter]) & 255)
      }
      above = row
    }
  }

  const packed = deflateSync(Buffer.from(bytes))
  const cut = below(packed.length)
  const extra = !transparent
    ? []
    : colourType === 3
      ? [chunk("tRNS", Buffer.from(alphas))]
      : [chunk("tRNS", Buffer.from(key.flatMap((v) => [v >> 8, v & 255])))]
  const file = fileOf(
    header(width, height, kind),
    ...(colourType === 3 ? [chunk("PLTE", Buffer.from(palette))] : []),
    ...(colourType < 4 ? extra : []),
    chunk("IDAT", packed.subarray(0, cut)),
    chunk("IDAT", packed.subarray(cut)),
  )

  const toByte = (v: number) => Math.round((v * 255) / (2 ** depth - 1))
  const alpha = colourType >= 4 || transparent
  const expected: number[] = []
  for (let i = 0; i < samples.length; i += count) {
    const s = samples.slice(i, i + count)
    if (colourType === 3) {
      expected.push(...palette.slice(3 * s[0], 3 * s[0] + 3), ...(alpha ? [alphas[s[0]] ?? 255] : []))
      continue
    }
    const colour = count < 3 ? [s[0], s[0], s[0]] : s.slice(0, 3)
    expected.push(...colour.map(toByte))
    if (colourType >= 4) expected.push(toByte(s[count - 1]))
    else if (alpha) expected.push(s.every((v, c) => v === key[c]) ? 0 : 255)
  }
  return { file, expected: pixels(width, height, alpha ? 4 : 3, Uint8Array.from(expected)) }
}

/** Matchers take long over arrays, and none over text. */
const asText = ({ data, ...size }: Pixels) => ({ ...size, data: Buffer.from(data).toString("hex") })

describe("decodePng", () => {
  const named = kinds.flatMap((kind) =>
    (kind.colourType < 4 ? [false, true] : [false]).map((transparent) => ({ ...kind, transparent })),
  )

  it.each(named)(
    "colour type $colourType of $depth bits, interlaced $interlaced, tRNS $transparent",
    (kind) => {
      for (let seed = 0; seed < 8; seed++) {
        const { file, expected } = randomPng(dice(seed), kind, kind.transparent)
        expect(asText(decodePng(file))).toEqual(asText(expected))
      }
    },
  )

  it.each([
    { palette: true, colours: 2, progressive: true },
    { palette: true, colours: 200 },
    { progressive: true, adaptiveFiltering: true },
  ])("reads what libvips writes, %o", async (options) => {
    const { width, height, data } = randomPicture(dice(3), 4)
    const file = await sharp(data, { raw: { width, height, channels: 4 } })
      .png(options)
      .toBuffer()
    const expected = await sharp(file).ensureAlpha().raw().toBuffer()
    const decoded = decodePng(file)
    const alpha = (i: number) => (decoded.channels === 4 ? decoded.data[4 * i + 3] : 255)
    const got: number[] = []
    for (let i = 0; i < width * height; i++) {
      const at = i * decoded.channels
      got.push(...decoded.data.subarray(at, at + 3), alpha(i))
    }
    expect(Buffer.from(got).equals(expected)).toBe(true)
  })
})

/** Of odd sizes: smooth, noisy and flat in places, so that every filter is chosen somewhere. */
function randomPicture({ below, next }: Dice, channels: 3 | 4): Pixels {
  const width = 1 + below(60)
  const height = 1 + below(60)
  const [p, q, noise] = [next(), next(), below(3) * below(40)]
  const data = new Uint8Array(width * height * channels)
  for (let i = 0; i < data.length; i++) {
    const x = Math.floor(i / channels) % width
    const y = Math.floor(i / channels / width)
    data[i] = 128 + 100 * Math.sin(p * x + q * y + (i % channels)) + below(noise + 1)
  }
  return pixels(width, height, channels, data)
}

describe("encodePng", () => {
  it.each([3, 4] as const)("%i channels come back, here and in libvips", async (channels) => {
    for (let seed = 0; seed < 20; seed++) {
      const picture = randomPicture(dice(seed), channels)
      const file = encodePng(picture)
      expect(asText(decodePng(file))).toEqual(asText(picture))
      const { data, info } = await sharp(file).raw().toBuffer({ resolveWithObject: true })
      expect(info).toMatchObject({ width: picture.width, height: picture.height, channels })
      expect(Buffer.compare(data, picture.data)).toBe(0)
    }
  })

  it("is smaller through filters than libvips makes it without", async () => {
    const picture = randomPicture(dice(11), 3)
    const { width, height, data } = picture
    const plain = await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer()
    expect(encodePng(picture).length).toBeLessThan(plain.length)
  })

  it("needs pixels", () => {
    expect(() => encodePng(pixels(0, 3, 3, new Uint8Array(0)))).toThrow(LimnError)
  })
})

describe("text", () => {
  const dot = pixels(1, 1, 3, Uint8Array.of(1, 2, 3))
  const typesOf = (file: Uint8Array) =>
    [
      ...Buffer.from(file)
        .toString("latin1")
        .matchAll(/IHDR|[tiz][ET]Xt|IDAT|IEND/g),
    ].map(([type]) => type)

  it("comes back, whatever its script", () => {
    const text = {
      parameters: "a paper boat, 水墨\nSteps: 20, Seed: 0",
      prompt: "一只纸船漂在雨中 ⛵",
      Software: "limn",
      Comment: "déjà vu ÿ",
      empty: "",
      long: "x".repeat(100_000),
    }
    expect(readPngText(encodePng(dot, text))).toEqual(text)
    expect(decodePng(encodePng(dot, text))).toEqual(dot)
  })

  it("is Latin-1 where it can be, UTF-8 elsewhere, and before the picture", () => {
    const file = encodePng(dot, { a: "plain\ncafé", b: "纸", c: "tab\there", d: "\x80", e: "€" })
    expect(typesOf(file)).toEqual(["IHDR", "tEXt", "iTXt", "iTXt", "iTXt", "iTXt", "IDAT", "IEND"])
    expect(readPngText(file)).toEqual({ a: "plain\ncafé", b: "纸", c: "tab\there", d: "\x80", e: "€" })
  })

  it.each(["", " a", "a ", "a  b", "a\nb", "a\0b", "\xa0", "提示", "x".repeat(80)])(
    "has no keyword %j",
    (keyword) => {
      expect(() => encodePng(dot, { [keyword]: "text" })).toThrow(LimnError)
    },
  )

  it("has no NUL", () => {
    expect(() => encodePng(dot, { a: "b\0c" })).toThrow(LimnError)
  })

  it("of other programs is read: packed, translated, repeated, named like JavaScript's own", () => {
    const utf8 = Buffer.from("雨中", "utf8")
    const file = fileOf(
      chunk("tEXt", "a\0first"),
      chunk("tEXt", "a\0last \x93"),
      chunk("zTXt", Buffer.concat([Buffer.from("z\0\0"), deflateSync(Buffer.from("caf\xe9", "latin1"))])),
      chunk(
        "iTXt",
        Buffer.concat([Buffer.from("i\0\x01\0zh-CN\0\xe6\x8f\x90\0", "latin1"), deflateSync(utf8)]),
      ),
      chunk("iTXt", Buffer.concat([Buffer.from("__proto__\0\0\0\0\0"), utf8])),
    )
    expect(Object.entries(readPngText(file))).toEqual([
      ["a", "last \x93"],
      ["z", "café"],
      ["i", "雨中"],
      ["__proto__", "雨中"],
    ])
  })

  it.each([
    ["no NUL", chunk("tEXt", "keyword")],
    ["no language", chunk("iTXt", "a\0\0\0en")],
    ["another method", chunk("zTXt", "a\0\x01abc")],
    ["nothing packed", chunk("zTXt", "a\0\0")],
    ["packed damage", chunk("zTXt", "a\0\0no zlib here")],
    ["a bomb", chunk("zTXt", Buffer.concat([Buffer.from("a\0\0"), deflateSync(Buffer.alloc(2 ** 24 + 1))]))],
  ])("with %s is refused", (_, bad) => {
    expect(() => readPngText(fileOf(bad), "x.png")).toThrow(FormatError)
    expect(() => readPngText(fileOf(bad), "x.png")).toThrow("x.png")
  })
})

describe("refusals", () => {
  const rgb: Kind = { colourType: 2, depth: 8, interlaced: false }
  const idat = (bytes: number) => chunk("IDAT", deflateSync(Buffer.alloc(bytes)))
  const good = [header(2, 2, rgb), idat(14)]
  const palette: Kind = { ...rgb, colourType: 3 }

  const cases: [string, Uint8Array, RegExp][] = [
    ["nothing", new Uint8Array(0), /x\.png is not a PNG/],
    ["a JPEG", Uint8Array.of(0xff, 0xd8, 0xff, 0xe0), /is not a PNG/],
    ["no end", fileOf(...good).slice(0, -12), /cut short/],
    ["half a chunk", fileOf(...good).slice(0, -20), /cut short/],
    [
      "a wrong checksum",
      fileOf(...good).map((b, i) => (i === 20 ? b ^ 1 : b)),
      /checksum of its chunk at byte 8/,
    ],
    ["no header", fileOf(idat(14)), /does not begin with a PNG header/],
    ["a short header", fileOf(chunk("IHDR", "short")), /does not begin with a PNG header/],
    ["no width", fileOf(header(0, 2, rgb), idat(0)), /0x2 pixels/],
    ["no pixel data", fileOf(header(2, 2, rgb)), /pixel data of x\.png cannot be unpacked/],
    ["too many pixels", fileOf(header(2 ** 15, 2 ** 14, rgb), idat(14)), /32768x16384 pixels, more than/],
    [
      "as many as numbers go",
      fileOf(header(2 ** 32 - 1, 2 ** 32 - 1, rgb), idat(14)),
      /more than the 268435456/,
    ],
    [
      "fewer pixels than claimed",
      fileOf(header(2 ** 14, 2 ** 14, rgb), idat(14)),
      /16384x16384.*has only 14/,
    ],
    ["more pixels than claimed", fileOf(header(2, 2, rgb), idat(15)), /unpacks to more than 14 bytes/],
    ["a bomb", fileOf(header(2, 2, rgb), idat(2 ** 20)), /unpacks to more than 14 bytes/],
    ["colour type 5", fileOf(header(2, 2, { ...rgb, colourType: 5 }), idat(14)), /colour type 5 of 8 bits/],
    ["colours of 4 bits", fileOf(header(2, 2, { ...rgb, depth: 4 }), idat(14)), /colour type 2 of 4 bits/],
    [
      "a filter of its own",
      fileOf(header(1, 1, rgb), chunk("IDAT", deflateSync(Buffer.from([5, 0, 0, 0])))),
      /filter 5/,
    ],
    ["no palette", fileOf(header(1, 1, palette), idat(2)), /no palette/],
    [
      "colours beyond the palette",
      fileOf(header(1, 1, palette), chunk("PLTE", "abc"), chunk("IDAT", deflateSync(Buffer.from([0, 1])))),
      /colour 1 of a palette of 1/,
    ],
    ["half a transparent colour", fileOf(header(2, 2, rgb), chunk("tRNS", "abc"), idat(14)), /in 3 bytes/],
  ]

  it.each(cases)("%s", (_, bytes, message) => {
    expect(() => decodePng(bytes, "x.png")).toThrow(FormatError)
    expect(() => decodePng(bytes, "x.png")).toThrow(message)
  })

  it("damaged files give FormatErrors or pictures", () => {
    const rounds = fuzzRounds(1000)
    const d = dice(7)
    const text = chunk(
      "iTXt",
      Buffer.concat([Buffer.from("a\0\x01\0\0\0"), deflateSync(Buffer.from("水墨".repeat(9)))]),
    )
    const files = kinds.flatMap((kind) => {
      const { file } = randomPng(d, kind, true)
      return [file, new Uint8Array(Buffer.concat([file.subarray(0, 33), text, file.subarray(33)]))]
    })
    let pictures = 0
    for (let i = 0; i < rounds; i++) {
      const bytes = damage(files[i % files.length], d)
      for (const read of [decodePng, readPngText]) {
        try {
          read(bytes)
          if (read === decodePng) pictures++
        } catch (error) {
          if (!(error instanceof FormatError)) throw error
        }
      }
    }
    expect(pictures).toBeGreaterThan(rounds / 20)
    expect(pictures).toBeLessThan(rounds * 0.75)
  })
})

/** A damaged copy. Mostly the checksums are made right again, or nothing behind them would ever be reached. */
function damage(file: Uint8Array, { below, pick }: Dice): Uint8Array {
  if (below(8) === 0) return file.subarray(0, below(file.length))
  const out = Buffer.from(file)
  for (let i = 1 + below(3); i > 0; i--) {
    const at = 8 + below(out.length - 8)
    const kind = below(4)
    if (kind === 0) out[at] ^= 1 << below(8)
    else if (kind === 1) out[at] = pick([0, 1, 127, 128, 255])
    else if (kind === 2) out[16 + below(13)] = pick([0, 1, 2, 3, 4, 8, 16, 255])
    else out.copyWithin(at, below(out.length), below(out.length))
  }
  if (below(8) === 0) return out
  for (let at = 8; at + 12 <= out.length; ) {
    const end = at + 12 + out.readUInt32BE(at)
    if (end > out.length) break
    out.writeUInt32BE(crc32(out.subarray(at + 4, end - 4)), end - 4)
    at = end
  }
  return out
}
