import { readFileSync } from "node:fs"
import { join } from "node:path"
import { afterAll, beforeAll, describe, expect, test } from "vitest"
import { decodePng } from "../../src/formats/png.ts"
import { FormatError, LimnError, UsageError } from "../../src/ground/errors.ts"
import type { Pixels } from "../../src/ground/image.ts"
import { pixels } from "../../src/ground/image.ts"
import type { Tensor } from "../../src/ground/tensor.ts"
import { float32 } from "../../src/ground/tensor.ts"
import type { BodyPoint, WholeBody } from "../../src/models/whole-body.ts"
import { areWholeBodyAnswers, wholeBody } from "../../src/models/whole-body.ts"
import { areYoloxAnswers, yoloxPeople } from "../../src/models/yolox.ts"
import type { PoseAnnotator } from "../../src/pipelines/pose.ts"
import { openPoseAnnotator } from "../../src/pipelines/pose.ts"
import { posePicture } from "../../src/pipelines/pose-drawing.ts"
import { goldenFolder, goldenJson, goldenTensors, relativeDifference } from "./golden.ts"

const placeOf = (path: string) => join(goldenFolder, "pose", path)
const found = goldenTensors("pose/found.safetensors")
const frame = { width: 128, height: 96 }
const shown = { width: 36, height: 48 }

function pictureOf({ shape, data }: Tensor): Pixels {
  return pixels(shape[1], shape[0], 3, data as Uint8Array)
}

/** People as the golden's arrays have them [P, 134, 3], and back. */
function arrayOf(people: readonly WholeBody[]): Tensor<"float32"> {
  const points = people.flatMap(({ body, feet, face, leftHand, rightHand }) =>
    [body, feet, face, leftHand, rightHand].flat().flatMap(({ x, y, score }) => [x, y, score]),
  )
  return float32([people.length, 134, 3], points)
}
function peopleOf({ shape, data }: Tensor): WholeBody[] {
  return Array.from({ length: shape[0] }, (_, person) => {
    const points = Array.from({ length: 134 }, (_, i): BodyPoint => {
      const [x, y, score] = [0, 1, 2].map((k) => Number(data[(person * 134 + i) * 3 + k]))
      return { x, y, score }
    })
    return {
      body: points.slice(0, 18),
      feet: points.slice(18, 24),
      face: points.slice(24, 92),
      leftHand: points.slice(92, 113),
      rightHand: points.slice(113),
    }
  })
}

/** The share of pixels that are those of OpenCV's drawing. */
function sameShare(map: Pixels, name: string): number {
  const drawn = decodePng(readFileSync(placeOf(`${name}.png`)))
  expect([map.width, map.height, map.channels]).toEqual([drawn.width, drawn.height, drawn.channels])
  let same = 0
  for (let i = 0; i < map.data.length; i += 3)
    if ([0, 1, 2].every((c) => map.data[i + c] === drawn.data[i + c])) same++
  return same / (map.width * map.height)
}

describe("what networks answer, as DWPose reads it", () => {
  const golden = goldenTensors("pose/answers.safetensors")
  const answers = golden.answers as Tensor<"float32">

  test("people, and those that overlap once", () => {
    expect(areYoloxAnswers(answers, frame)).toBe(true)
    expect(areYoloxAnswers(answers, { width: 128, height: 128 })).toBe(false)
    const people = yoloxPeople(answers, frame, Math.min(128 / 160, 96 / 100))
    const boxes = people.flatMap(({ box: { left, top, right, bottom } }) => [left, top, right, bottom])
    expect(relativeDifference(float32([people.length, 4], boxes), golden.boxes)).toBeLessThan(1e-6)
    expect(people.map(({ score }) => score)).toEqual([...(golden.scores.data as Float32Array)])
  })

  test("the points of a person", () => {
    const [left, top, right, bottom] = golden.boxes.data as Float32Array
    const both = [golden.x, golden.y] as Tensor<"float32">[]
    expect(areWholeBodyAnswers(both, shown)).toBe(true)
    expect(areWholeBodyAnswers(both.toReversed(), shown)).toBe(false)
    const points = arrayOf([wholeBody(both, { left, top, right, bottom }, shown)])
    const expected = golden.points.data as Float64Array
    for (let i = 0; i < 134; i++) {
      const score = expected[3 * i + 2]
      expect(points.data[3 * i + 2]).toBeCloseTo(score, 6)
      // Where nothing is seen, no place is better than another.
      for (const k of score > 0 ? [0, 1] : [])
        expect(points.data[3 * i + k]).toBeCloseTo(expected[3 * i + k], 4)
    }
  })

  test("nothing where a box is endless, or none", () => {
    const odd = [Number.POSITIVE_INFINITY, Number.NaN, 89, -200]
    for (const size of odd) {
      const one = float32([1, 252, 6], new Float32Array(252 * 6))
      one.data.set([0, 0, size, size, 1, 1])
      expect(yoloxPeople(one, frame, 1)).toEqual([])
    }
  })
})

describe("people drawn as by OpenCV", () => {
  const cases =
    goldenJson<{ name: string; picture: number[]; size: number[]; faces: boolean }[]>("pose/drawn.json")
  const golden = goldenTensors("pose/drawn.safetensors")

  test.each(cases.map((one) => [one.name, one] as const))("%s", (name, { picture, size, faces }) => {
    const pose = { width: picture[0], height: picture[1], people: peopleOf(golden[name]) }
    const map = posePicture(pose, { width: size[0], height: size[1], faces })
    expect(sameShare(map, name)).toBe(1)
  })

  test("with faces unless they are left out", () => {
    const pose = { width: 200, height: 280, people: peopleOf(golden.standing) }
    const whites = ({ data }: Pixels) =>
      data.filter((v, i) => i % 3 === 0 && v + data[i + 1] + data[i + 2] === 765)
    expect(whites(posePicture(pose)).length).toBeGreaterThan(100)
    expect(whites(posePicture(pose, { faces: false }))).toHaveLength(0)
  })

  test("wherever their points are", () => {
    const [person] = peopleOf(golden.standing)
    const far = (scale: number): WholeBody => {
      const moved = (points: readonly BodyPoint[]) =>
        points.map(({ x, y }, i) => ({
          x: (x - 90) * scale * (i % 2 === 0 ? 1 : -1),
          y: (y - 90) * scale,
          score: 1,
        }))
      const { body, feet, face, leftHand, rightHand } = person
      return {
        body: moved(body),
        feet,
        face: moved(face),
        leftHand: moved(leftHand),
        rightHand: moved(rightHand),
      }
    }
    for (const scale of [1e3, 1e9, 1e30, Number.NaN])
      for (const people of [[far(scale), person]])
        expect(posePicture({ width: 200, height: 280, people }).data.some((v) => v > 0)).toBe(true)
  })

  test("and nobody is an error", () => {
    const hidden = peopleOf(golden.standing).map(({ body, ...rest }) => ({
      body: [],
      feet: rest.feet,
      face: rest.face.map((point) => ({ ...point, score: 0.2 })),
      leftHand: [],
      rightHand: [],
    }))
    for (const people of [[], hidden]) {
      expect(() => posePicture({ width: 8, height: 8, people })).toThrow(LimnError)
      expect(() => posePicture({ width: 8, height: 8, people })).toThrow(/^Nobody was found in a picture/)
    }
  })
})

describe("a pose annotator", () => {
  let annotator: PoseAnnotator
  beforeAll(async () => {
    annotator = await openPoseAnnotator(placeOf("models"), { threads: 1 })
  })
  afterAll(() => annotator.close())

  test.each([0, 1, 2])("finds and draws those of picture %i as DWPose does", async (n) => {
    const picture = pictureOf(found[`${n}.picture`])
    const pose = await annotator.find(picture)
    const expected = found[`${n}.points`]
    const people = pose.people.slice(0, expected.shape[0])
    const points = arrayOf(people)
    expect(
      relativeDifference(points, float32(expected.shape, Float32Array.from(expected.data as Float64Array))),
    ).toBeLessThan(1e-4)
    expect(sameShare(posePicture({ ...pose, people }), `found-${n}`)).toBe(1)
  })

  test("takes files in any order, and maps at other sizes", async () => {
    const files = ["estimator.onnx", "detector.onnx"].map((name) => placeOf(`models/${name}`))
    const other = await openPoseAnnotator(files, { threads: 1 })
    const picture = pictureOf(found["1.picture"])
    const size = { width: 64, height: 96, faces: false }
    expect(await other.map(picture, size)).toEqual(posePicture(await annotator.find(picture), size))
    await other.close()
  })

  test.each<[string, string | string[], typeof LimnError, RegExp]>([
    [
      "nothing there",
      placeOf("nowhere"),
      UsageError,
      /There are no pose models at .*; give the folder of DWPose's/,
    ],
    ["a folder of other files", goldenFolder, UsageError, /holds no \.onnx file/],
    [
      "no detector",
      placeOf("models/estimator.onnx"),
      FormatError,
      /finds people, .* there is estimator\.onnx with the outputs simcc_x \[batch, 133, 72\]/,
    ],
    [
      "no estimator",
      [placeOf("models/detector.onnx"), join(goldenFolder, "faces/models/2d106det.onnx")],
      FormatError,
      /finds the points of bodies, .*output \[1, 252, 8\]; 2d106det\.onnx with the outputs fc1/,
    ],
  ])("is refused where there is %s", async (_, places, kind, message) => {
    const failing = openPoseAnnotator(places)
    await expect(failing).rejects.toThrow(message)
    await expect(failing).rejects.toThrow(kind)
  })

  test("says what else a network gives", async () => {
    const depth = await openPoseAnnotator([
      placeOf("models/estimator.onnx"),
      join(goldenFolder, "depth/dpt/model.onnx"),
    ])
    const failing = depth.find(pictureOf(found["0.picture"]))
    await expect(failing).rejects.toThrow(
      /gives \[1, 320, 320\] for a picture of 640x640, which is not what YOLOX finds/,
    )
    await expect(failing).rejects.toThrow(FormatError)
    await depth.close()
  })
})
