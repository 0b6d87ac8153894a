import type { Pixels } from "../ground/image.ts"
import type { Tensor } from "../ground/tensor.ts"
import { pixelsFromTensor } from "./image.ts"
import type { Model } from "./model.ts"
import { rowsOf } from "./rows.ts"
import { inTiles } from "./tiles.ts"

/** Whether an autoencoder works on whole pictures or, in bounded memory, on tiles of them. */
export interface TileOptions {
  /**
   * Decode and encode in tiles of 512 x 512 pixels that fade into each other; colours may differ a little from one to
   * the next. Default: where a picture has more pixels than 1024 x 1024.
   */
  readonly tiled?: boolean
}

/** In pixels: what diffusers has for Stable Diffusion 1.x. */
const TILE_SIDE = 512
/** The largest picture that is decoded at once unless asked otherwise. */
const WHOLE_PIXELS = 1024 ** 2

/** A decoder whose graph is loaded. */
export interface OpenDecoder {
  /** Pictures from latents [B, C, h, w], one at a time: decoding takes by far the most memory. */
  decode(latents: Tensor<"float32">, signal?: AbortSignal): Promise<Pixels[]>
  /** Lets the graph be unloaded when room is needed. */
  release(): void
}

/** The decoder's graph for latents of this shape [B, C, h, w], until released. */
export async function openDecoder(
  { decoder, latentPixels }: Pick<Model, "decoder" | "latentPixels">,
  [, channels, height, width]: readonly number[],
  options: TileOptions,
): Promise<OpenDecoder> {
  const side = tileSide(height * latentPixels, width * latentPixels, options) / latentPixels
  const shape = [1, channels, Math.min(height, side), Math.min(width, side)]
  const { release } = await decoder.open({ latents: { dtype: "float32", shape } })
  return {
    release,
    async decode(latents, signal) {
      const pictures: Pixels[] = []
      for (let i = 0; i < latents.shape[0]; i++) {
        const image = await inTiles(rowsOf(latents, i, i + 1), side, async (tile) => {
          signal?.throwIfAborted()
          return (await decoder.run({ latents: tile })).image as Tensor<"float32">
        })
        pictures.push(pixelsFromTensor(image))
      }
      return pictures
    },
  }
}

/**
 * Pictures from a model's latents [B, C, h, w], such as those of a step of `denoise`. A model that was loaded with
 * TAESD for its decoder is quick enough to follow a walk. No safety checker looks at them.
 * Throws a LimnError where the decoder fails.
 */
export async function decodeLatents(
  model: Pick<Model, "decoder" | "latentPixels">,
  latents: Tensor<"float32">,
  options: TileOptions = {},
): Promise<Pixels[]> {
  const decoder = await openDecoder(model, latents.shape, options)
  try {
    return await decoder.decode(latents)
  } finally {
    decoder.release()
  }
}

/** What the encoder makes of a picture [1, 3, H, W] in [-1, 1]: means before logarithms of variances [1, 2 C, h, w]. */
export function encodePixels(
  { encoder }: Pick<Model, "encoder">,
  image: Tensor<"float32">,
  options: TileOptions,
): Promise<Tensor<"float32">> {
  const [, , height, width] = image.shape
  return inTiles(
    image,
    tileSide(height, width, options),
    async (tile) => (await encoder.run({ image: tile })).moments as Tensor<"float32">,
  )
}

/** In pixels; endless where the picture is to be one. */
function tileSide(
  height: number,
  width: number,
  { tiled = height * width > WHOLE_PIXELS }: TileOptions,
): number {
  return tiled ? TILE_SIDE : Number.POSITIVE_INFINITY
}
