import { decodePicture, readBytes } from "#platform"
import type { Pixels } from "../ground/image.ts"

/** The pixels of a picture's file. */
export async function readPicture(path: string): Promise<Pixels> {
  return decodePicture(await readBytes(path), path)
}
