import { readFileSync } from "node:fs"
import { decodePng } from "../formats/png.ts"
import { readPngText } from "../formats/png-text.ts"
import type { Description } from "./description.ts"
import { formatBytes, formatTable } from "./format.ts"

/** A PNG picture: its size, and the settings that made it, where its file keeps them. */
export function describePicture(path: string): Description {
  const bytes = readFileSync(path)
  const { width, height, channels } = decodePng(bytes, path)
  const { limn, ...others } = readPngText(bytes, path)
  const settings = settingsOf(limn)
  const head = `${path}\nA PNG picture of ${width}x${height} pixels${channels === 4 ? " with transparency" : ""}, ${formatBytes(bytes.length)}`
  const texts = settings === undefined ? Object.entries(others) : []
  const rows =
    settings === undefined ? [] : Object.entries(settings).map(([name, value]) => [name, shown(value)])
  const parts = [head, formatTable(rows), ...texts.map(([keyword, text]) => `${keyword}:\n${indent(text)}`)]
  if (settings === undefined && texts.length === 0) parts.push("It does not say how it was made.")
  return {
    text: parts.filter((part) => part !== "").join("\n\n"),
    json: { kind: "picture", path, bytes: bytes.length, width, height, channels, settings, texts: others },
  }
}

/** What limn wrote; nothing where another program wrote something else under that name. */
function settingsOf(text: string | undefined): object | undefined {
  if (text === undefined) return undefined
  try {
    const json: unknown = JSON.parse(text)
    return typeof json === "object" && json !== null ? json : undefined
  } catch {
    return undefined
  }
}

/** A nested value is its name where it has one, such as a scheduler's class. */
function shown(value: unknown): string {
  if (typeof value === "string") return value
  if (typeof value === "object" && value !== null && "_class_name" in value) return String(value._class_name)
  return JSON.stringify(value)
}

function indent(text: string): string {
  return text.replace(/^/gm, "  ")
}
