import type { OnnxSignature } from "../formats/onnx.ts"
import { resizeBilinear } from "../ground/bilinear.ts"
import type { Pixels } from "../ground/image.ts"
import { pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import type { Session } from "../runtime/session.ts"

/** Whether a network takes one picture [B, 3, H, W] and nothing else. */
export function takesPictures({ inputs }: Pick<OnnxSignature, "inputs">): boolean {
  const [, channels] = inputs[0]?.shape ?? []
  return inputs.length === 1 && inputs[0].shape.length === 4 && channels === 3
}

/** What a network of one input gives for a picture, in the order in which its file lists it. */
export async function outputsFor(
  session: Session,
  { inputs, outputs }: Pick<OnnxSignature, "inputs" | "outputs">,
  picture: Tensor<"float32">,
): Promise<readonly Tensor[]> {
  const names = outputs.map(({ name }) => name)
  const given = await session.run({ [inputs[0].name]: picture }, names)
  return names.map((name) => given[name])
}

/** A picture of three channels scaled to a size, in the upper left corner of a grey frame of another. */
export function framed(
  picture: Pixels,
  inner: Pick<Pixels, "width" | "height">,
  { width, height }: Pick<Pixels, "width" | "height">,
  grey: number,
): Pixels {
  const small = resizeBilinear(picture, inner.width, inner.height)
  const data = new Uint8Array(3 * width * height).fill(grey)
  for (let y = 0; y < inner.height; y++)
    data.set(small.data.subarray(3 * y * inner.width, 3 * (y + 1) * inner.width), 3 * y * width)
  return pixels(width, height, 3, data)
}

/** Red, green and blue as numbers. */
type Colour = readonly [number, number, number]

/** A picture's colours less their mean, over their deviation, each of 0 to 255: [1, 3, H, W]. */
export function normalizedTensor(
  { width, height, data }: Pixels,
  mean: Colour,
  deviation: Colour,
): Tensor<"float32"> {
  const size = width * height
  const values = new Float32Array(3 * size)
  for (let i = 0; i < data.length; i++) {
    const c = i % 3
    values[c * size + Math.floor(i / 3)] = (data[i] - mean[c]) / deviation[c]
  }
  return float32([1, 3, height, width], values)
}
