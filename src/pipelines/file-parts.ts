import type { StoredWeight } from "../graph/weights.ts"
import { storedRows } from "../graph/weights.ts"
import type { Shape } from "../ground/shape.ts"
import { sameShape } from "../ground/shape.ts"
import { transposed } from "../ground/tensor.ts"
import {
  compVisAutoencoderName,
  compVisAverageName,
  compVisControlNetName,
  compVisUNetName,
} from "../models/compvis-names.ts"
import type { AutoencoderConfig } from "../models/config/autoencoder.ts"
import type { ControlNetConfig } from "../models/config/controlnet.ts"
import type { UNetConfig } from "../models/config/unet.ts"
import type { Place } from "../models/open-clip-names.ts"
import { openClipPlace, openClipUnused } from "../models/open-clip-names.ts"
import type { ParameterSpec } from "../models/parameters/module.ts"
import type { ShapeOf } from "../models/published-model.ts"
import type { TensorFile } from "./tensor-file.ts"

/** Where one part of a model lies among the tensors of a file. */
export interface PartPlaces {
  /** The beginning of every name, and of no name of another part. */
  readonly prefix: string
  /** Where a tensor lies, by its name in diffusers. */
  at(name: string): Place
  /** Tensors of the part that no picture needs. */
  readonly unused?: RegExp
}

/** The U-Net: as trained, or its average over training (EMA) where that is wanted, or alone in the file. */
export function unetPlaces(
  { tensors }: TensorFile,
  config: Pick<UNetConfig, "layersPerBlock" | "upBlockTypes">,
  { ema = false }: { readonly ema?: boolean },
): PartPlaces {
  const trained = "model.diffusion_model."
  const averaged = "model_ema.diffusion_model"
  const named = (name: string) => `${trained}${compVisUNetName(name, config)}`
  return begins(tensors, averaged) && (ema || !begins(tensors, trained))
    ? { prefix: averaged, at: (name) => ({ name: compVisAverageName(named(name)) }) }
    : { prefix: trained, at: (name) => ({ name: named(name) }) }
}

/** A ControlNet, by the names of its authors or those of diffusers, beside other parts or alone in the file. */
export function controlNetPlaces({ tensors }: TensorFile, config: ControlNetConfig): PartPlaces {
  const prefix = begins(tensors, "control_model.") ? "control_model." : ""
  if (begins(tensors, `${prefix}controlnet_cond_embedding.`))
    return { prefix, at: (name) => ({ name: `${prefix}${name}` }) }
  return { prefix, at: (name) => ({ name: `${prefix}${compVisControlNetName(name, config)}` }) }
}

/** The autoencoder. */
export function autoencoderPlaces(config: Pick<AutoencoderConfig, "blockOutChannels">): PartPlaces {
  const prefix = "first_stage_model."
  return { prefix, at: (name) => ({ name: `${prefix}${compVisAutoencoderName(name, config)}` }) }
}

/** A text encoder by transformers' names. */
export function clipPlaces({ tensors }: TensorFile, prefix: string): PartPlaces {
  // Some files were saved by a transformers whose text encoder was not yet half of a whole.
  const short = begins(tensors, `${prefix}embeddings.`)
  return { prefix, at: (name) => ({ name: `${prefix}${short ? name.replace(/^text_model\./, "") : name}` }) }
}

/** A text encoder by OpenCLIP's names. */
export function openClipPlaces(prefix: string): PartPlaces {
  const at = (name: string) => {
    const place = openClipPlace(name)
    return { ...place, name: `${prefix}${place.name}` }
  }
  return { prefix, at, unused: openClipUnused }
}

/** The shapes of a part's tensors by their names in diffusers. */
export function placedShapes({ tensors }: TensorFile, { at }: PartPlaces): ShapeOf {
  return (name) => {
    const place = at(name)
    const shape = tensors.get(place.name)?.shape
    return place.transposed ? shape?.toReversed() : shape
  }
}

/**
 * A part's tensors by their names in diffusers, each where it lies, but for matrices whose axes are exchanged, which are
 * copied. What the part has beside them keeps its name, and what is of another shape its shape, so that a check of the
 * tensors finds both. Throws a FormatError where the file holds a type that limn has not.
 */
export function placedTensors(
  file: TensorFile,
  specs: readonly ParameterSpec[],
  { prefix, at, unused }: PartPlaces,
): ReadonlyMap<string, StoredWeight> {
  const wanted = new Map<string, { readonly spec: ParameterSpec; readonly place: Place }[]>()
  for (const spec of specs) {
    const place = at(spec.name)
    wanted.set(place.name, [...(wanted.get(place.name) ?? []), { spec, place }])
  }
  const tensors = new Map<string, StoredWeight>()
  for (const name of file.tensors.keys()) {
    const pieces = wanted.get(name)
    if (pieces !== undefined) {
      const whole = file.stored(name)
      for (const { spec, place } of pieces) tensors.set(spec.name, pieceOf(file, whole, place, spec.shape))
    } else if (name.startsWith(prefix) && !unused?.test(name)) tensors.set(name, file.stored(name))
  }
  return tensors
}

/** What lies at a place, in this shape; as it is where it cannot have that. */
function pieceOf(file: TensorFile, whole: StoredWeight, place: Place, shape: Shape): StoredWeight {
  const { name, rows } = place
  if (rows !== undefined) {
    const [count, ...each] = shape
    if (!sameShape(whole.shape, [rows.of * count, ...each])) return whole
    return storedRows(whole, [rows.block * count, (rows.block + 1) * count], name)
  }
  if (place.transposed) {
    if (!sameShape(whole.shape, shape.toReversed())) return whole
    const { storage } = whole
    const tensor = transposed(storage.kind === "memory" ? storage.tensor : file.read(name))
    return { ...whole, shape, storage: { kind: "memory", tensor } }
  }
  return inShape(whole, shape)
}

/** The layers of the autoencoder's attention are 1x1 convolutions in these files, and linear in diffusers. */
function inShape(weight: StoredWeight, shape: Shape): StoredWeight {
  const { storage } = weight
  if (!sameShape(weight.shape, [...shape, 1, 1])) return weight
  if (storage.kind === "file") return { ...weight, shape }
  return { ...weight, shape, storage: { ...storage, tensor: { ...storage.tensor, shape } } }
}

function begins(tensors: TensorFile["tensors"], prefix: string): boolean {
  return [...tensors.keys()].some((name) => name.startsWith(prefix))
}
