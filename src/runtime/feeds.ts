import type { OnnxSignature, OnnxValueInfo } from "../formats/onnx.ts"
import { LimnError } from "../ground/errors.ts"
import type { Shape } from "../ground/shape.ts"
import { formatShape, sizeOf } from "../ground/shape.ts"
import type { Tensor } from "../ground/tensor.ts"

/** Throws where an input or output has an element type that cannot cross from JavaScript to ONNX Runtime. */
export function checkTypes(model: OnnxSignature): void {
  for (const { name, dtype } of [...model.inputs, ...model.outputs])
    if (dtype === "bfloat16")
      throw new LimnError(
        `${name} of ${model.graphName} is bfloat16, which ONNX Runtime does not take from JavaScript: cast it inside the graph.`,
      )
}

/** Throws where the feeds are not exactly the graph's inputs: by name, by element type, by shape. */
export function checkFeeds(model: OnnxSignature, feeds: Readonly<Record<string, Tensor>>): void {
  const expected = list(model.inputs)
  for (const name of Object.keys(feeds))
    if (!model.inputs.some((input) => input.name === name))
      throw new LimnError(`${model.graphName} has no input ${name}: it takes ${expected}.`)
  const sizes = new Map<string, { readonly size: number; readonly input: string }>()
  for (const input of model.inputs) {
    const feed = feeds[input.name]
    if (feed === undefined)
      throw new LimnError(`${model.graphName} was run without its input ${input.name}: it takes ${expected}.`)
    checkFeed(model.graphName, input, feed)
    input.shape.forEach((dimension, axis) => {
      if (typeof dimension === "number") return
      const seen = sizes.get(dimension)
      if (seen !== undefined && seen.size !== feed.shape[axis])
        throw new LimnError(
          `Input ${input.name} of ${model.graphName} has ${dimension} = ${feed.shape[axis]}, but ${seen.input} has ${dimension} = ${seen.size}: give both the same.`,
        )
      sizes.set(dimension, { size: feed.shape[axis], input: input.name })
    })
  }
}

/** Throws where an output asked for is not one of the graph's, or none is. */
export function checkOutputs(model: OnnxSignature, outputs: readonly string[]): void {
  if (outputs.length === 0)
    throw new LimnError(`A run of ${model.graphName} must ask for at least one of ${list(model.outputs)}.`)
  for (const name of outputs)
    if (!model.outputs.some((output) => output.name === name))
      throw new LimnError(`${model.graphName} has no output ${name}: it gives ${list(model.outputs)}.`)
}

function checkFeed(graph: string, input: OnnxValueInfo, feed: Tensor): void {
  if (feed.dtype !== input.dtype)
    throw new LimnError(`Input ${input.name} of ${graph} must be ${input.dtype}, not ${feed.dtype}.`)
  if (!fits(feed.shape, input.shape))
    throw new LimnError(
      `Input ${input.name} of ${graph} must have the shape [${input.shape.join(", ")}], not ${formatShape(feed.shape)}.`,
    )
  if (feed.data.length !== sizeOf(feed.shape))
    throw new LimnError(
      `Input ${input.name} of ${graph} says ${formatShape(feed.shape)} but holds ${feed.data.length} elements.`,
    )
}

function fits(shape: Shape, pattern: readonly (number | string)[]): boolean {
  return (
    shape.length === pattern.length &&
    pattern.every((size, axis) => typeof size === "string" || size === shape[axis])
  )
}

function list(values: readonly OnnxValueInfo[]): string {
  if (values.length === 0) return "none"
  return values.map(({ name, dtype, shape }) => `${name} (${dtype} [${shape.join(", ")}])`).join(", ")
}
