import { absolutePath } from "#platform"
import type { StoredWeight } from "../graph/weights.ts"
import { FormatError, UsageError } from "../ground/errors.ts"
import { formatShape } from "../ground/shape.ts"
import { withAdditions } from "./additions.ts"
import type { ClipEncoder, LearntWord } from "./clip-encoder.ts"
import { lastPart } from "./files.ts"
import type { Model } from "./model.ts"
import type { TensorFile } from "./tensor-file.ts"
import { withTensorFile } from "./tensor-file.ts"

/** How a textual inversion is loaded. */
export interface TextualInversionOptions {
  /** The word to use it by; default: the file's own, or else its name without the ending. */
  readonly token?: string
}

/**
 * A model that also knows the word in a file of textual inversion (Gal et al. 2022; diffusers `load_textual_inversion`).
 * It shares all but its text encoders with the given model, which stays as it was and must stay open; closing the new
 * one closes the new encoders alone. The file is safetensors or PyTorch's, of one of these forms:
 *
 *   { "<word>": [D] or [N, D] }                    diffusers
 *   { string_to_param: { "*": [N, D] }, name }     A1111
 *   { emb_params: [N, D] }                         A1111, safetensors
 *   { clip_l: [N, D1], clip_g: [N, D2] }           for SDXL's two encoders
 *
 * Throws a LimnError where there is no such file, a FormatError where it is of another form, damaged, or of other widths
 * than the model's text encoders, a UsageError for a word that the model already has and for a model with LoRAs.
 */
export async function withTextualInversion(
  model: Model,
  path: string,
  options: TextualInversionOptions = {},
): Promise<Model> {
  if (model.loras.length > 0)
    throw new UsageError(
      `Words are added before LoRAs; give ${path} to the model without them, and then the LoRAs to the result.`,
    )
  const file = absolutePath(path)
  const found = await withTensorFile(file, readWord)
  const word = options.token ?? found.word
  const encoders = clipEncoders(model)
  checkFit(file, found.vectors, model)
  const textEncoders = encoders.map((encoder, i) => encoder.extend({ word, vectors: found.vectors[i] }))
  const extended: Model = {
    ...model,
    textEncoders,
    encodings: new Map(),
    with: (...additions) => withAdditions(extended, additions),
    async close() {
      await Promise.all(textEncoders.map(({ network }) => network.close()))
    },
  }
  return extended
}

/** The word of a file, and its vectors [N, D] for each text encoder in the family's order. */
interface FoundWord extends Pick<LearntWord, "word"> {
  readonly vectors: readonly StoredWeight[]
}

function readWord(file: TensorFile): FoundWord {
  const names = [...file.tensors.keys()]
  const ownName = lastPart(file.path).replace(/\.[^.]*$/, "")
  const of = (word: string, ...tensors: string[]) => ({
    word,
    vectors: tensors.map((name) => rowsOf(file, name)),
  })
  if (names.includes("clip_g") || names.includes("clip_l"))
    return of(ownName, ...["clip_l", "clip_g"].filter((name) => names.includes(name)))
  if (names.includes("emb_params")) return of(ownName, "emb_params")
  const params = names.filter((name) => name.startsWith("string_to_param."))
  if (params.length === 1) return of(file.metadata.name ?? ownName, params[0])
  if (names.length === 1) return of(names[0], names[0])
  throw new FormatError(
    `${file.path} holds ${names.length} tensors, where a textual inversion holds one word; give another file.`,
  )
}

/** A vector, or several, as rows. */
function rowsOf(file: TensorFile, name: string): StoredWeight {
  const stored = file.stored(name)
  const { shape, storage } = stored
  if (shape.length < 1 || shape.length > 2 || shape.includes(0))
    throw new FormatError(
      `${file.path} holds ${JSON.stringify(name)} of shape ${formatShape(shape)}, which is no list of vectors; give a textual inversion.`,
    )
  if (shape.length === 2) return stored
  const rows = [1, shape[0]]
  if (storage.kind === "file") return { ...stored, shape: rows }
  return { ...stored, shape: rows, storage: { ...storage, tensor: { ...storage.tensor, shape: rows } } }
}

/** Throws a UsageError where the model reads texts otherwise. */
function clipEncoders({ name, textEncoders }: Model): ClipEncoder[] {
  return textEncoders.map((encoder) => {
    if (encoder.kind === "clip") return encoder
    throw new UsageError(
      `${name} reads texts with ChatGLM, and words of textual inversion are for CLIP; leave them away.`,
    )
  })
}

function checkFit(file: string, vectors: readonly StoredWeight[], model: Model): void {
  const given = vectors.map(({ shape }) => shape[1])
  const wanted = model.textEncoders.map(({ hiddenSize }) => hiddenSize)
  if (given.join() !== wanted.join())
    throw new FormatError(
      `${file} holds vectors ${given.join(" and ")} wide, and ${model.path} reads words ${wanted.join(" and ")} wide; give a textual inversion of such a model.`,
    )
  const counts = new Set(vectors.map(({ shape }) => shape[0]))
  if (counts.size > 1)
    throw new FormatError(
      `${file} holds ${[...counts].join(" and ")} vectors of one word, which must be equally many; fetch it again.`,
    )
}
