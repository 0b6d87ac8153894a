import type { OnnxAttribute } from "../formats/onnx.ts"
import type { Shape } from "../ground/shape.ts"
import { int64, type Tensor } from "../ground/tensor.ts"
import type { Op, Value } from "./value.ts"

/** Where a graph runs. */
export type Device = "cpu" | "webgpu" | "cuda"

/** What a rule writes its nodes with. */
export interface Emitter {
  /** Adds a node with one result; `output` names the result, a fresh name otherwise. Gives the result's name. */
  add(
    op: string,
    inputs: readonly string[],
    options?: { attributes?: Readonly<Record<string, OnnxAttribute>>; domain?: string; output?: string },
  ): string
  /** Adds a node with several results of fresh names, and gives them. */
  addSplit(op: string, inputs: readonly string[], results: number): string[]
  /** The name of a small tensor written into the model, shared between equal ones. */
  constant(tensor: Tensor): string
}

/** Writes one operator as ONNX nodes, the last of which gives `output`. */
export type OnnxRule<P extends Op> = (
  emit: Emitter,
  inputs: readonly string[],
  output: string,
  value: Value<P>,
) => void

/** Several operators that a device runs as one, found at the last of them. */
export interface Fusion<P extends Op> {
  /**
   * What the nodes read, in place of the last operator's inputs; undefined where the others are not there. `inner` says
   * of a value that it is computed, and read by nothing else.
   */
  reads(value: Value<P>, inner: (x: Value) => boolean): readonly Value[] | undefined
  /** Writes the nodes; its inputs are what `reads` gave. */
  readonly write: OnnxRule<P>
}

/** What is written otherwise for one device than for the CPU. */
export interface DeviceRules {
  readonly rules: { readonly [P in Op]?: OnnxRule<P> }
  readonly fusions: { readonly [P in Op]?: Fusion<P> }
}

/** Operators of com.microsoft are ONNX Runtime's own. Not every provider has every one; where one has not, its rules differ. */
export const microsoft = "com.microsoft"

/** The name of a vector of integers, as ONNX takes shapes and axes. */
export function ints(emit: Emitter, values: Shape): string {
  return emit.constant(int64([values.length], values))
}
