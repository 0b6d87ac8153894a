import { closeSync, existsSync, openSync, readSync, statSync } from "node:fs"
import { join } from "node:path"
import { UsageError } from "../ground/errors.ts"
import { holdsModel } from "../pipelines/family.ts"
import { namesSingleFile } from "../pipelines/single-file.ts"
import { looksLikeRepo } from "../runtime/hub/names.ts"
import type { Description } from "./description.ts"
import { describeModel } from "./info-model.ts"
import { describePicture } from "./info-picture.ts"
import { describeRepo } from "./info-repo.ts"
import { describeTensors } from "./info-tensors.ts"

/**
 * Says what a model's folder, a file of tensors or a picture holds, or what is cached of a model of the Hub. Throws a
 * UsageError for anything else.
 */
export async function info(path: string, { json = false }: { readonly json?: boolean }): Promise<void> {
  const description = await describe(path)
  console.log(json ? JSON.stringify(description.json, null, 2) : description.text)
}

async function describe(path: string): Promise<Description> {
  const stats = statSync(path, { throwIfNoEntry: false })
  if (stats === undefined && looksLikeRepo(path)) return describeRepo(path)
  if (stats === undefined)
    throw new UsageError(
      `There is nothing at ${path}; give the path of a model's folder, a checkpoint or a picture.`,
    )
  if (stats.isDirectory()) {
    if ((await holdsModel(path)) || existsSync(join(path, "config.json"))) return describeModel(path)
    throw new UsageError(
      `${path} has neither model_index.json nor config.json; give the folder of a model or of one of its parts.`,
    )
  }
  if (isPng(path)) return describePicture(path)
  if (namesSingleFile(path)) return describeTensors(path)
  throw new UsageError(
    `${path} is neither a PNG picture nor a checkpoint (.safetensors, .ckpt, .pt, .pth, .bin), and limn reads no others.`,
  )
}

/** By its first bytes: pictures are often renamed. */
function isPng(path: string): boolean {
  const file = openSync(path, "r")
  try {
    const start = Buffer.alloc(4)
    readSync(file, start)
    return start.equals(Buffer.from([0x89, 0x50, 0x4e, 0x47]))
  } finally {
    closeSync(file)
  }
}
