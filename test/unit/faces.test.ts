import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { resizeBilinear } from "../../src/ground/bilinear.ts"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import type { Pixels } from "../../src/ground/image.ts"
import { pixels } from "../../src/ground/image.ts"
import type { Point } from "../../src/ground/similarity.ts"
import { similarityTransform } from "../../src/ground/similarity.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32 } from "../../src/ground/tensor.ts"
import { alignedFace } from "../../src/models/arcface.ts"
import type { FoundFace } from "../../src/models/scrfd.ts"
import { scrfdFaces } from "../../src/models/scrfd.ts"
import type { FaceReader } from "../../src/pipelines/faces.ts"
import { chosenFace, openFaceReader } from "../../src/pipelines/faces.ts"
import { goldenFolder, goldenTensors, relativeDifference } from "./golden.ts"

const placeOf = (path: string) => join(goldenFolder, "faces", path)

function pictureOf({ shape, data }: Tensor): Pixels {
  const [height, width] = shape
  return pixels(width, height, 3, data as Uint8Array)
}

function pointsOf({ data }: Tensor): Point[] {
  return Array.from({ length: 5 }, (_, i): Point => [Number(data[2 * i]), Number(data[2 * i + 1])])
}

/** Faces as insightface's arrays have them: [N, 5] and [N, 5, 2]. */
function arraysOf(faces: readonly FoundFace[]) {
  const rows = faces.flatMap(({ box, score }) => [box.left, box.top, box.right, box.bottom, score])
  const points = faces.flatMap((face) => face.points.flat())
  return { det: float32([faces.length, 5], rows), kps: float32([faces.length, 5, 2], points) }
}

describe("pixels, as OpenCV makes them", () => {
  const golden = goldenTensors("faces/pixels.safetensors")

  test.each([0, 1, 2, 3, 4])("picture %i in another size, bit for bit", (n) => {
    const { shape, data } = golden[`${n}.resized`]
    expect(resizeBilinear(pictureOf(golden[`${n}.picture`]), shape[1], shape[0]).data).toEqual(data)
  })

  test.each([
    ["0", 112],
    ["3", 112],
  ])("the face of picture %s turned upright", (n, size) => {
    const face = alignedFace(pictureOf(golden[`${n}.picture`]), pointsOf(golden[`${n}.points`]), size)
    expectNear(face.data, golden[`${n}.face`].data as Uint8Array)
  })

  test("a face twice as large", () => {
    const face = alignedFace(pictureOf(golden["0.picture"]), pointsOf(golden["0.points"]), 224)
    const middle = Uint8Array.from({ length: 50 * 50 * 3 }, (_, i) => {
      const [row, column] = [90 + Math.floor(i / 150), 90 + (Math.floor(i / 3) % 50)]
      return face.data[3 * (224 * row + column) + (i % 3)]
    })
    expectNear(middle, golden["0.face224.middle"].data as Uint8Array)
  })

  function expectNear(actual: Uint8Array, expected: Uint8Array) {
    const differences = actual.map((value, i) => Math.abs(value - expected[i]))
    expect(Math.max(...differences)).toBeLessThanOrEqual(1)
    expect(differences.filter((one) => one > 0).length / actual.length).toBeLessThan(2e-3)
  }

  test("points that are one have no direction", () => {
    const one: Point[] = [
      [3, 4],
      [3, 4],
    ]
    expect(() => similarityTransform(one, one)).toThrow(LimnError)
  })
})

test("a detector's outputs hold the faces that insightface reads in them", () => {
  const golden = goldenTensors("faces/outputs.safetensors")
  const outputs = Array.from({ length: 9 }, (_, i) => golden[i] as Tensor<"float32">)
  const found = arraysOf(scrfdFaces(outputs, 96, 64, 64 / 100))
  expect(found.det.data).toEqual(golden.det.data)
  expect(found.kps.data).toEqual(golden.kps.data)
})

describe("a reader of faces", () => {
  const golden = goldenTensors("faces/found.safetensors")
  let reader: FaceReader
  beforeAll(async () => {
    reader = await openFaceReader(placeOf("models"), { threads: 1 })
  })
  afterAll(() => reader.close())

  test.each([0, 1, 2])("finds and recognises those of picture %i as insightface does", async (n) => {
    const picture = pictureOf(golden[`${n}.picture`])
    const faces = await reader.find(picture)
    const found = arraysOf(faces)
    expect(relativeDifference(found.det, golden[`${n}.det`])).toBeLessThan(1e-5)
    expect(relativeDifference(found.kps, golden[`${n}.kps`])).toBeLessThan(1e-5)
    const embeddings = golden[`${n}.embeddings`]
    for (let i = 0; i < 3; i++) {
      const expected = float32([1, 512], embeddings.data.subarray(512 * i, 512 * (i + 1)) as Float32Array)
      // The frame that skimage finds in float32 is moved by 1e-5 pixels, so that a few values round to the next.
      expect(relativeDifference(await reader.recognise(picture, faces[i]), expected)).toBeLessThan(1e-3)
    }
  })

  test("takes files, detectors of one size, and recognisers that normalise", async () => {
    const picture = pictureOf(golden["0.picture"])
    const fixed = await openFaceReader([placeOf("fixed.onnx"), placeOf("mxnet.onnx")], { threads: 1 })
    const batched = await openFaceReader([placeOf("batched.onnx"), placeOf("mxnet.onnx")], { threads: 1 })
    const small = await fixed.find(picture)
    expect(relativeDifference(arraysOf(small).det, golden["0.fixed.det"])).toBeLessThan(1e-5)
    const faces = await batched.find(picture)
    expect(arraysOf(faces)).toEqual(arraysOf(await reader.find(picture)))
    expect(relativeDifference(await batched.recognise(picture, faces[0]), golden["0.mxnet"])).toBeLessThan(
      1e-4,
    )
    await Promise.all([fixed.close(), batched.close()])
  })

  test("passes over transparency, and finds nothing where nothing is", async () => {
    const picture = pictureOf(golden["0.picture"])
    const faces = await reader.find(picture)
    const { width, height, data } = picture
    const clear = pixels(width, height, 4, new Uint8Array(4 * width * height))
    for (let i = 0; i < width * height; i++) clear.data.set([...data.subarray(3 * i, 3 * i + 3), 255], 4 * i)
    expect(await reader.find(clear)).toEqual(faces)
    expect(await reader.find(pixels(64, 64, 3, new Uint8Array(3 * 64 * 64)))).toEqual([])
    expect(chosenFace(faces, 1)).toBe(faces[1])
    expect(() => chosenFace([], 0)).toThrow(/No face was found/)
    expect(() => chosenFace(faces.slice(0, 2), 2)).toThrow(UsageError)
    expect(() => chosenFace(faces.slice(0, 2), 2)).toThrow(
      /it has 2; give a number from 0, the largest, to 1/,
    )
  })

  test.each<[string, string | string[], typeof LimnError, RegExp]>([
    ["nothing there", placeOf("nowhere"), UsageError, /There are no face models at/],
    ["a folder of other files", goldenFolder, UsageError, /holds no \.onnx file/],
    [
      "no detector",
      placeOf("models/recogniser.onnx"),
      FormatError,
      /finds faces, .* there is recogniser\.onnx with the outputs 683 \[683\.0, 512\]/,
    ],
    [
      "no recogniser",
      [placeOf("models/detector.onnx"), placeOf("models/2d106det.onnx")],
      FormatError,
      /recognises faces, .*score_8 \[score_8\.0, 1\].*2d106det\.onnx with the outputs fc1/,
    ],
    [
      "a file of another kind",
      placeOf("found.safetensors"),
      UsageError,
      /found\.safetensors holds no \.onnx file/,
    ],
  ])("is refused where there is %s", async (_, places, kind, message) => {
    const failing = openFaceReader(places)
    await expect(failing).rejects.toThrow(message)
    await expect(failing).rejects.toThrow(kind)
  })
})
