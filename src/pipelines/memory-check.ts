import { availableMemoryBytes } from "#platform"
import { LimnError } from "../ground/errors.ts"
import { sizeOf } from "../ground/shape.ts"
import type { UNetConfig } from "../models/config/unet.ts"
import { unetParameters } from "../models/parameters/unet.ts"
import type { Device } from "../runtime/session.ts"
import { textPrecisions } from "./chatglm-blocks.ts"
import type { Model, Precision } from "./model.ts"

/** What one number of a denoiser's weights takes while it runs. */
const numberBytes: Readonly<Record<Precision, number>> = { fp32: 4, fp16: 2, int8: 1 }

/**
 * What a whole picture takes at most, of a model's own size and with guidance, over what its denoiser's weights take
 * (bench/results/picture.json). Where that is free, weights may be rearranged in memory, and parts stay loaded.
 */
const WHOLE_OVER_WEIGHTS = 1.8

/**
 * Whether a model had better leave its weights in their files: whether a picture by rearranged ones would take more memory
 * than is free. Only the CPU is looked at.
 *   free   in bytes; false where it is unknown
 */
export function needsLowMemory(
  denoiser: UNetConfig,
  { device, precision }: { readonly device: Device; readonly precision: Precision },
  free: number | undefined = availableMemoryBytes(),
): boolean {
  return (
    device === "cpu" && free !== undefined && WHOLE_OVER_WEIGHTS * weightBytes(denoiser, precision) > free
  )
}

/** How many numbers the weights of denoisers are. */
const counted = new WeakMap<UNetConfig, number>()

/** What a denoiser's weights take while it runs. */
export function weightBytes(denoiser: UNetConfig, precision: Precision): number {
  // It is asked several times before the first step, each of which would list a thousand parameters.
  const numbers =
    counted.get(denoiser) ?? unetParameters(denoiser).reduce((sum, { shape }) => sum + sizeOf(shape), 0)
  counted.set(denoiser, numbers)
  return numbers * numberBytes[precision]
}

/**
 * Throws a LimnError where a part of the model that is not loaded yet needs more memory than is free, with what would need
 * less. Only large parts on the CPU are looked at, and only what their weights take for certain.
 *   free   in bytes; nothing is checked where it is unknown
 */
export function checkMemory(model: Model, free: number | undefined = availableMemoryBytes()): void {
  if (free === undefined || model.device !== "cpu") return
  checkTextEncoders(model, free)
  checkDenoiser(model, free)
}

function checkTextEncoders({ textEncoders }: Model, free: number): void {
  for (const encoder of textEncoders) {
    if (encoder.kind !== "chatglm" || encoder.network.isLoaded()) continue
    const { kept, readingBytes } = encoder
    if (readingBytes(kept) <= free) continue
    const smaller = textPrecisions.find((one) => readingBytes(one) <= free)
    const remedy =
      smaller === undefined
        ? "close other programs"
        : `load the model with textEncoder "${smaller}" (${gigabytes(readingBytes(smaller))}), or close other programs`
    throw new LimnError(
      `Reading the prompt with ChatGLM in ${kept} takes about ${gigabytes(readingBytes(kept))} of memory, and ${gigabytes(free)} are free; ${remedy}.`,
    )
  }
}

function checkDenoiser({ unet, unetConfig, precision, running }: Model, free: number): void {
  // In low memory weights are pages of files, which the system takes back.
  if (running.lowMemory || unet.isLoaded()) return
  const needed = weightBytes(unetConfig, precision)
  if (needed > free)
    throw new LimnError(
      `The denoiser's weights take ${gigabytes(needed)} of memory, and ${gigabytes(free)} are free; load the model with lowMemory, or close other programs.`,
    )
}

function gigabytes(bytes: number): string {
  return `${(bytes / 1e9).toFixed(1)} GB`
}
