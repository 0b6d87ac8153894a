import type { ExternalData, OnnxInitializer, OnnxModel } from "../../formats/onnx.ts"
import { FormatError } from "../../ground/errors.ts"

/** How far the external data of each location reaches, in bytes. */
export function externalEnds(model: OnnxModel): Map<string, number> {
  const ends = new Map<string, number>()
  for (const { data } of model.initializers)
    if ("location" in data)
      ends.set(data.location, Math.max(ends.get(data.location) ?? 0, data.offset + data.length))
  return ends
}

/** The same model with each piece of external data replaced. */
export function withExternalData(
  model: OnnxModel,
  replace: (data: ExternalData) => OnnxInitializer["data"],
): OnnxModel {
  const initializers = model.initializers.map((initializer) =>
    "location" in initializer.data ? { ...initializer, data: replace(initializer.data) } : initializer,
  )
  return { ...model, initializers }
}

/** Throws where the file at `location` is too short for the weights that should lie in it. */
export function checkLength(location: string, bytes: number, end: number, graph: string): void {
  if (bytes < end)
    throw new FormatError(
      `${location} has ${bytes} bytes, and the weights of ${graph} reach to byte ${end}: it is cut short, so fetch it again.`,
    )
}
