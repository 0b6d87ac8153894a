import { readFileSync } from "node:fs"
import { join } from "node:path"
import { pixels } from "../src/ground/image.ts"
import { openDataset } from "../src/training/dataset.ts"
import type { Gallery } from "./nearest.ts"

/** The first `most` training pictures that show one thing on white as it is, where it is one of these concepts. */
export async function plainPictures(
  folder: string,
  concepts: ReadonlySet<string>,
  most: number,
): Promise<Gallery> {
  const lines = readFileSync(join(folder, "captions.jsonl"), "utf8").trim().split("\n")
  const shown = lines.map((line) => JSON.parse(line) as { kind: string; concepts: string[] })
  const chosen = [...shown.keys()]
    .filter((i) => shown[i].kind === "plain" && concepts.has(shown[i].concepts[0]))
    .slice(0, most)
  const images = await openDataset(folder)
  try {
    return {
      concepts: chosen.map((i) => shown[i].concepts[0]),
      pictures: chosen.map((i) => pixels(images.width, images.height, 3, images.pixels(i))),
    }
  } finally {
    images.close()
  }
}
