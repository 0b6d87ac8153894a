import { FormatError, messageOf } from "../../../ground/errors.ts"
import { type Pixels, pixels } from "../../../ground/image.ts"

/**
 * A picture file as 8-bit pixels, by the browser's own decoders.
 * Throws a FormatError, in which the file is called `name`, where the browser cannot read it.
 */
export async function decodePicture(bytes: Uint8Array, name: string): Promise<Pixels> {
  try {
    const bitmap = await createImageBitmap(new Blob([new Uint8Array(bytes)]))
    const { width, height } = bitmap
    const context = new OffscreenCanvas(width, height).getContext("2d")!
    context.drawImage(bitmap, 0, 0)
    return pixels(width, height, 4, new Uint8Array(context.getImageData(0, 0, width, height).data))
  } catch (error) {
    throw new FormatError(`${name} cannot be read as a picture: ${messageOf(error)}.`, { cause: error })
  }
}
