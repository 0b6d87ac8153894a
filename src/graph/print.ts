import { formatShape } from "../ground/shape.ts"
import type { Graph } from "./build.ts"
import { attributesOf, formatType, isOp, type Value } from "./value.ts"

/** The graph as text, a line for each value that is computed, for review and for snapshot tests. */
export function print(graph: Graph): string {
  const lines: string[] = []
  for (const value of graph.values) {
    if (isOp(value, "weight") || isOp(value, "constant")) continue
    const name = graph.names.get(value)!
    if (isOp(value, "input")) {
      lines.push(`input ${name}: ${formatType(value)}`)
      continue
    }
    const operands = value.inputs.map((x) => operandName(graph, x))
    const attributes = Object.entries(attributesOf(value)).map(([key, v]) => `${key}=${formatAttribute(v)}`)
    lines.push(`${name} = ${value.op}(${[...operands, ...attributes].join(", ")}): ${formatType(value)}`)
  }
  for (const [name, value] of Object.entries(graph.outputs))
    lines.push(`output ${name} = ${graph.names.get(value)}`)
  return lines.join("\n")
}

function operandName(graph: Graph, x: Value): string {
  if (!isOp(x, "constant")) return graph.names.get(x)!
  const { tensor } = x.attributes
  return tensor.shape.length === 0 ? String(tensor.data[0]) : `constant ${formatType(x)}`
}

function formatAttribute(value: unknown): string {
  if (Array.isArray(value)) return formatShape(value)
  return typeof value === "object" ? JSON.stringify(value) : String(value)
}
