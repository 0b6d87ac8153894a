import { absolutePath, exists } from "#platform"
import type { OnnxValueInfo } from "../formats/onnx.ts"
import { FormatError, UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import { pixels } from "../ground/image.ts"
import { interpolateBicubic } from "../ground/interpolate.ts"
import { resizeImage } from "../ground/resize.ts"
import { formatShape } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import type { DepthImageConfig } from "../models/config/depth-image.ts"
import { depthImageConfig, depthImageSize, publishedDepthImage } from "../models/config/depth-image.ts"
import type { OnnxFile } from "../runtime/onnx-file.ts"
import { readOnnxFile } from "../runtime/onnx-file.ts"
import type { SessionOptions } from "../runtime/session.ts"
import { readJson } from "./files.ts"
import { opaque } from "./image.ts"
import { normalizedTensor, outputsFor } from "./picture-network.ts"

/** A size in pixels. */
interface Size {
  readonly width: number
  readonly height: number
}

/** Tells how near each part of a picture is, by a network that is loaded. */
export interface DepthAnnotator {
  /** How near each part is, larger being nearer: [H, W] of the network's own size. Throws as `map` does. */
  depth(picture: Pixels): Promise<Tensor<"float32">>
  /**
   * A picture's depth as ControlNets are shown it, of a size that is by default its own: grey, the nearest part white, the
   * farthest black. Transparent parts are seen white. Throws a FormatError where the network gives something else, a
   * UsageError for a picture that is too long.
   */
  map(picture: Pixels, size?: Size): Promise<Pixels>
  /** Gives the network's memory back. */
  close(): Promise<void>
}

/** Pixels of the largest picture that a network is shown. */
const MOST_PIXELS = 2 ** 24

/**
 * Loads a network that tells how near each part of a picture is, as MiDaS, DPT and Depth Anything do, from an ONNX file
 * that lies here. How it reads pictures stands in transformers' preprocessor_config.json beside it or one folder up; where
 * there is none, it is normalised by the mean and deviation of ImageNet, and of the size that the file takes, or with its
 * shorter side at 518 pixels. It runs on the CPU.
 * Throws a LimnError where there is no file, a FormatError where it or the configuration is of another form.
 */
export async function openDepthAnnotator(
  path: string,
  { threads }: Pick<SessionOptions, "threads"> = {},
): Promise<DepthAnnotator> {
  const file = await readOnnxFile(absolutePath(path))
  const [input] = file.header.inputs
  const output = file.header.outputs.find(isDepth)
  if (file.header.inputs.length !== 1 || !isPicture(input) || output === undefined)
    throw new FormatError(
      `${path} does not tell depth: it takes ${told(file.header.inputs)} and gives ${told(file.header.outputs)}, where MiDaS, DPT and Depth Anything take one float32 picture [1, 3, H, W] and give [1, H, W]; give an export of one of them.`,
    )
  const config = (await configBeside(file)) ?? publishedDepthImage
  const session = await file.open({ device: "cpu", threads })
  const signature = { inputs: [input], outputs: [output] }

  async function depth(picture: Pixels): Promise<Tensor<"float32">> {
    const wanted = depthImageSize(config, picture)
    const [height, width] = [wanted.height, wanted.width].map((side, i) => {
      const fixed = input.shape[2 + i]
      return typeof fixed === "number" ? fixed : side
    })
    if (width * height > MOST_PIXELS)
      throw new UsageError(
        `A picture of ${picture.width}x${picture.height} would be shown to ${path} at ${width}x${height}, which is too much; give a part of it.`,
      )
    const shown = resizeImage(opaque(picture), width, height, "bicubic")
    const [given] = await outputsFor(
      session,
      signature,
      normalizedTensor(shown, config.mean, config.deviation),
    )
    return depthIn(given, path)
  }

  return {
    depth,
    map: async (picture, size = picture) => depthPicture(await depth(picture), size),
    close: () => session.close(),
  }
}

/**
 * How near each part of a picture is [H, W], as a grey picture of another size: interpolated as transformers'
 * `post_process_depth_estimation` does, and from the smallest value, black, to the largest, white, as in the pictures that
 * the published ControlNets for depth were trained on. What is all one is black.
 */
export function depthPicture({ shape, data }: Tensor<"float32">, { width, height }: Size): Pixels {
  const [rows, columns] = shape
  const plane = interpolateBicubic({ width: columns, height: rows, data }, width, height).data
  let [least, most] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
  for (const value of plane) {
    least = Math.min(least, value)
    most = Math.max(most, value)
  }
  const f = Math.fround
  const range = f(most - least)
  const grey = plane.map((value) => (range > 0 ? f(f(f(value - least) / range) * 255) : 0))
  return pixels(
    width,
    height,
    3,
    new Uint8Array(3 * grey.length).map((_, i) => grey[Math.floor(i / 3)]),
  )
}

async function configBeside({ path }: OnnxFile): Promise<DepthImageConfig | undefined> {
  for (const folder of ["..", "../.."]) {
    const place = absolutePath(path, folder, "preprocessor_config.json")
    if (await exists(place)) return depthImageConfig(await readJson(place), place)
  }
  return undefined
}

/** What was given for one picture, as [H, W]. Throws a FormatError where it is of another form, or holds no numbers. */
function depthIn({ dtype, shape, data }: Tensor, path: string): Tensor<"float32"> {
  const [height, width] = shape.slice(-2)
  if (dtype !== "float32" || shape.length < 3 || data.length !== height * width || data.length === 0)
    throw new FormatError(
      `${path} gives ${dtype} ${formatShape(shape)} for a picture, which is not its depth.`,
    )
  const values = data as Float32Array
  if (!values.every(Number.isFinite))
    throw new FormatError(`${path} gives depths that are no numbers; give another export, in float32.`)
  return float32([height, width], values)
}

/** [B, 3, H, W], of which only the colours must be said. */
function isPicture({ dtype, shape }: OnnxValueInfo): boolean {
  return dtype === "float32" && shape.length === 4 && mayBe(shape[0], 1) && mayBe(shape[1], 3)
}

/** [B, H, W] or [B, 1, H, W], or of a shape that the file does not say. */
function isDepth({ dtype, shape }: OnnxValueInfo): boolean {
  const fits = shape.length === 0 || shape.length === 3 || (shape.length === 4 && mayBe(shape[1], 1))
  return dtype === "float32" && fits && (shape.length === 0 || mayBe(shape[0], 1))
}

/** Whether an axis has such a size, or any. */
function mayBe(axis: number | string, size: number): boolean {
  return axis === size || typeof axis === "string"
}

function told(values: readonly OnnxValueInfo[]): string {
  const shown = values.slice(0, 5).map(({ name, dtype, shape }) => `${name} ${dtype} [${shape.join(", ")}]`)
  return shown.join(" and ") || "nothing"
}
