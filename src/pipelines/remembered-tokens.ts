import type { Tensor } from "../ground/tensor.ts"
import type { LoadedIpAdapter, SeenImage } from "./model.ts"

/** Makes tokens [1, T, D] of images that are new; undefined is none at all. */
export type ReadNew = (images: readonly (SeenImage | undefined)[]) => Promise<readonly Tensor<"float32">[]>

/** The same with its tokens remembered, as long as the picture is; of one picture, those of each face. */
export function rememberedTokens(read: ReadNew): LoadedIpAdapter["readTokens"] {
  const known = new WeakMap<object, Map<number, Tensor<"float32">>>()
  /** Stands for no picture. */
  const blank = {}
  const ofPicture = (one: SeenImage | undefined) => {
    const picture = one?.image ?? blank
    const faces = known.get(picture) ?? new Map<number, Tensor<"float32">>()
    known.set(picture, faces)
    return faces
  }
  const faceOf = (one: SeenImage | undefined) => one?.face ?? 0
  return async (images) => {
    const missing = images.filter(
      (one, i) =>
        !ofPicture(one).has(faceOf(one)) &&
        images.findIndex((other) => other?.image === one?.image && faceOf(other) === faceOf(one)) === i,
    )
    const made = missing.length === 0 ? [] : await read(missing)
    for (const [i, one] of missing.entries()) ofPicture(one).set(faceOf(one), made[i])
    return images.map((one) => ofPicture(one).get(faceOf(one))!)
  }
}
