import { absolutePath, exists, makeFolder, openByteSource, writeFileAtomic } from "#platform"
import { encodeSafetensors, readSafetensorsHeader, readTensor } from "../formats/safetensors.ts"
import { storedWeights } from "../graph/weights.ts"
import { fnv1a } from "../ground/hash.ts"
import type { Tensor } from "../ground/tensor.ts"
import { float32, rawBytes } from "../ground/tensor.ts"
import { autoencoderConfig } from "../models/config/autoencoder.ts"
import { autoencoderParameters } from "../models/parameters/autoencoder.ts"
import { openComponent } from "../pipelines/component.ts"
import type { Parameters } from "./adamw.ts"
import type { CaptionedImages } from "./dataset.ts"
import { encodeImages } from "./latents.ts"
import { readParameters } from "./start.ts"

/** Pictures whose bytes tell one dataset from another. */
const sampled = 200

/**
 * The latents of all pictures, scaled as a diffusion model sees them [count, L, h, w]. Encoding takes minutes, so they
 * are kept in the run's folder, and made again where the pictures or the autoencoder have changed.
 */
export async function scaledLatents(
  vaeFolder: string,
  runFolder: string,
  images: CaptionedImages,
  onProgress: (done: number) => void,
): Promise<Tensor<"float32">> {
  const component = await openComponent(vaeFolder)
  const config = autoencoderConfig(component.config, component.path)
  const parameters = await readParameters(component, autoencoderParameters(config))
  const madeFrom = fingerprint(parameters, images)
  const path = absolutePath(runFolder, "latents.safetensors")
  let latents = await readKept(path, madeFrom)
  if (latents === undefined) {
    const stored = [...parameters].map(
      ([name, tensor]) => [name, { ...tensor, storage: { kind: "memory", tensor } }] as const,
    )
    const weights = storedWeights(new Map(stored), component.path)
    latents = await encodeImages(images, weights, config, { onProgress })
    await makeFolder(runFolder)
    await writeFileAtomic(path, encodeSafetensors({ latents }, { madeFrom }))
  }
  for (let i = 0; i < latents.data.length; i++) latents.data[i] *= config.scalingFactor
  return latents
}

async function readKept(path: string, madeFrom: string): Promise<Tensor<"float32"> | undefined> {
  if (!(await exists(path))) return undefined
  const source = await openByteSource(path)
  try {
    const file = readSafetensorsHeader(source)
    if (file.metadata.madeFrom !== madeFrom) return undefined
    const { shape, data } = readTensor(file, "latents")
    return float32(shape, data as Float32Array)
  } finally {
    source.close()
  }
}

/** The hash of the autoencoder's weights and of some of the pictures, beside their number. */
function fingerprint(parameters: Parameters, images: CaptionedImages): string {
  let hash: number | undefined
  for (const { data } of parameters.values()) hash = fnv1a(rawBytes(data), hash)
  for (let k = 0; k < sampled; k++)
    hash = fnv1a(images.pixels(Math.floor((k * images.count) / sampled)), hash)
  return `${images.count}-${hash?.toString(16)}`
}
