import sharp from "sharp"
import { describe, expect, test } from "vitest"
import { decodePicture } from "#platform"
import { FormatError } from "../../src/ground/errors.ts"

/** Red above blue, two pixels wide and four high. */
const flag = Buffer.from([
  255, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 0, 0, 255, 0, 0, 255, 0, 0, 255, 0, 0, 255,
])
const drawn = () => sharp(flag, { raw: { width: 2, height: 4, channels: 3 } })
const pixelsOf = async (bytes: Buffer) => decodePicture(bytes, "x")

describe("a picture is read as 8-bit colour", () => {
  test.each([
    ["PNG", () => drawn().png()],
    ["lossless WebP", () => drawn().webp({ lossless: true })],
    ["TIFF", () => drawn().tiff({ compression: "lzw" })],
    ["16-bit PNG", () => drawn().toColourspace("rgb16").png()],
  ])("%s", async (_, encode) => {
    const { width, height, channels, data } = await pixelsOf(await encode().toBuffer())
    expect({ width, height, channels }).toEqual({ width: 2, height: 4, channels: 3 })
    expect(Buffer.from(data)).toEqual(flag)
  })

  test("JPEG, in CMYK too", async () => {
    for (const encoded of [drawn(), drawn().toColourspace("cmyk")]) {
      const { width, height, channels, data } = await pixelsOf(await encoded.resize(16, 32).jpeg().toBuffer())
      expect({ width, height, channels }).toEqual({ width: 16, height: 32, channels: 3 })
      expect(data[0]).toBeGreaterThan(180)
      expect(data[data.length - 1]).toBeGreaterThan(100)
    }
  })

  test("turned as its EXIF says", async () => {
    const bytes = await drawn().withMetadata({ orientation: 6 }).png().toBuffer()
    const { width, height, data } = await pixelsOf(bytes)
    expect([width, height]).toEqual([4, 2])
    // A quarter turn to the right: what was at the bottom is at the left.
    expect(Array.from(data.subarray(0, 3))).toEqual([0, 0, 255])
  })

  test("grey, with and without transparency", async () => {
    const grey = (channels: 1 | 2, bytes: number[]) =>
      sharp(Buffer.from(bytes), { raw: { width: 2, height: 1, channels } })
        .toColourspace("b-w")
        .png()
        .toBuffer()
    expect(await pixelsOf(await grey(1, [10, 200]))).toMatchObject({
      channels: 3,
      data: new Uint8Array([10, 10, 10, 200, 200, 200]),
    })
    expect(await pixelsOf(await grey(2, [10, 255, 200, 0]))).toMatchObject({ channels: 4 })
  })
})

describe("what is no picture is refused in one sentence", () => {
  test.each([
    ["nothing", () => Buffer.alloc(0)],
    ["text", () => Buffer.from("a red heart")],
    ["a picture cut short", async () => (await drawn().resize(64, 64).png().toBuffer()).subarray(0, 80)],
    // The header of a PNG claims 60,000 by 60,000 pixels.
    ["a picture that unpacks to gigabytes", async () => bomb(await drawn().png().toBuffer())],
  ])("%s", async (_, bytes) => {
    const reading = pixelsOf(await bytes())
    await expect(reading).rejects.toThrow(FormatError)
    await expect(reading).rejects.toThrow(/^x cannot be read as a picture: .*; limn reads PNG, JPEG/)
  })
})

function bomb(png: Buffer): Buffer {
  const bytes = Buffer.from(png)
  bytes.writeUInt32BE(60_000, 16)
  bytes.writeUInt32BE(60_000, 20)
  return bytes
}
