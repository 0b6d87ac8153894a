import { UsageError } from "../ground/errors.ts"
import type { Pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32 } from "../ground/tensor.ts"
import { ipFeeds, withoutPictures } from "./ip-feeds.ts"
import { maskForQueries, maskTensor } from "./masks.ts"
import type { Conditioning, LoadedIpAdapter, Model, SeenImage } from "./model.ts"
import { joinRows } from "./rows.ts"

/** A picture that an IP-Adapter looks at. Its middle square is seen, or one face; transparent parts become white. */
export interface IpImage extends SeenImage {
  /**
   * White where it counts in what is drawn, black where not, resized to that; default: everywhere. Where one picture of an
   * adapter has a mask, each is looked at apart; else all are looked at together.
   */
  readonly mask?: Pixels
}

/** Pictures as they are given: for each IP-Adapter of the model, in order, one or several; for a single one a plain list. */
export type IpImages = readonly (Pixels | IpImage | readonly (Pixels | IpImage)[])[]

/** The pictures of each adapter. Throws a UsageError where one has none, or they are for adapters that are not there. */
export function resolveIpImages(
  { ipAdapters, name }: Model,
  given: IpImages,
): readonly (readonly IpImage[])[] {
  if (ipAdapters.length === 0 && given.length > 0)
    throw new UsageError(
      `${name} has no IP-Adapter to look at ipImages; give it one, by model.with(ipAdapter(...)).`,
    )
  const lists = ipAdapters.length === 1 ? [given.flat()] : given.map((one) => [one].flat())
  const missing = ipAdapters.findIndex((_, i) => (lists[i] ?? []).length === 0)
  if (missing >= 0) throw withoutPictures(ipAdapters[missing].path)
  if (lists.length > ipAdapters.length && ipAdapters.length > 0)
    throw new UsageError(
      `${name} has ${ipAdapters.length} IP-Adapters, and ipImages are for ${lists.length}; give each one picture, or a list.`,
    )
  return ipAdapters.map(({ path, faceModels }, i) =>
    lists[i].map((one) => {
      const seen = "image" in one ? one : { image: one }
      if (seen.face !== undefined) checkFace(seen.face, path, faceModels !== undefined)
      return seen
    }),
  )
}

function checkFace(face: number, path: string, readsFaces: boolean): void {
  if (!readsFaces)
    throw new UsageError(
      `The IP-Adapter ${path} looks at whole pictures, and face ${face} of one is asked for; leave face away.`,
    )
  if (!Number.isInteger(face) || face < 0)
    throw new UsageError(`face is ${face}; give a whole number from 0, the largest.`)
}

/** What is drawn after pictures. */
export interface IpDrawing {
  /** In pixels. */
  readonly width: number
  readonly height: number
  /** Pictures that are drawn together. */
  readonly count: number
  /** Whether there is anything to be led away from. */
  readonly guided: boolean
}

/**
 * Pictures as the denoiser reads them beside the texts, a row for each picture that is drawn; and what to be led away
 * from, where it is guided, which is no picture in the same places.
 * Throws a UsageError where an adapter has no picture, or pictures have no adapter.
 */
export async function encodeIpImages(
  model: Model,
  ipImages: IpImages,
  drawing: IpDrawing,
): Promise<{ readonly conditioning: Conditioning; readonly negative?: Conditioning }> {
  const images = resolveIpImages(model, ipImages)
  const { count, guided } = drawing
  const conditioning: Record<string, Tensor<"float32">> = {}
  const negative: Record<string, Tensor<"float32">> = {}
  for (const [i, adapter] of model.ipAdapters.entries()) {
    const { tokens, mask } = ipFeeds(i)
    const seen = await adapter.readTokens([...images[i], ...(guided ? [undefined] : [])])
    conditioning[tokens] = repeated(joinRows(seen.slice(0, images[i].length)), count)
    negative[tokens] = repeated(joinRows(images[i].map(() => seen.at(-1)!)), count)
    for (const [queries, one] of masksOf(model, adapter, images[i], drawing))
      conditioning[mask(queries)] = negative[mask(queries)] = repeated(one, count)
  }
  return { conditioning, ...(guided && { negative }) }
}

/** [N, ...] -> [count, N, ...] */
function repeated(t: Tensor<"float32">, count: number): Tensor<"float32"> {
  const one = float32([1, ...t.shape], t.data)
  return joinRows(new Array<Tensor<"float32">>(count).fill(one))
}

/** Masks [N, queries] for each number of queries that the U-Net's attentions to the text have; none where none is given. */
function masksOf(
  { latentPixels }: Model,
  { attentions }: LoadedIpAdapter,
  images: readonly IpImage[],
  { width, height }: IpDrawing,
): ReadonlyMap<number, Tensor<"float32">> {
  if (images.every(({ mask }) => mask === undefined)) return new Map()
  const white = float32([1, 1, height, width], new Float32Array(height * width).fill(1))
  const masks = images.map(({ mask }) => (mask ? maskTensor(mask, width, height, false) : white))
  const halved = (pixels: number, level: number) => Math.ceil(pixels / latentPixels / 2 ** level)
  const counts = new Set(attentions.map(({ level }) => halved(height, level) * halved(width, level)))
  return new Map(
    [...counts].map((queries) => [queries, joinRows(masks.map((one) => maskForQueries(one, queries)))]),
  )
}
