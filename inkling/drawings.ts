import { existsSync, mkdirSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { join } from "node:path"
import sharp from "sharp"
import { tensor } from "../src/ground/tensor.ts"
import { readBytesTensor, writeTensorFile, writeTextFile } from "./files.ts"
import type { SetName, Sprite } from "./sprites.ts"
import { conceptOf, isLeftOut, setNames, spriteFrom, spriteSize } from "./sprites.ts"

interface IconSet {
  readonly icons: Readonly<Record<string, Icon>>
  readonly aliases?: Readonly<Record<string, Icon & { parent: string }>>
  readonly width: number
  readonly height: number
}

interface Icon {
  readonly body: string
  readonly left?: number
  readonly top?: number
  readonly width?: number
  readonly height?: number
}

const packageOf = createRequire(import.meta.url)

function iconFile<T>(set: SetName, file: string): T {
  return JSON.parse(readFileSync(packageOf.resolve(`@iconify-json/${set}/${file}`), "utf8")) as T
}

/** Version of the package that holds a set. */
export function setVersion(set: SetName): string {
  return iconFile<{ version: string }>(set, "package.json").version
}

/** Icon name for each concept of a set. fluent-emoji has the icon names of fluent-emoji-flat, but no code points of its own. */
function iconNames(set: SetName): Map<string, string> {
  const chars = iconFile<Record<string, string>>(
    set === "fluent-emoji" ? "fluent-emoji-flat" : set,
    "chars.json",
  )
  const names = new Map<string, string>()
  for (const [codePoints, name] of Object.entries(chars)) {
    const concept = conceptOf(codePoints)
    // Private-use code points are a set's own inventions.
    if (isLeftOut(concept) || /^u(e|f[0-8])[0-9a-f]{2,3}$/.test(concept)) continue
    if (!names.has(concept)) names.set(concept, name)
  }
  return names
}

function svgOf(set: IconSet, name: string): string | undefined {
  const alias = set.aliases?.[name]
  const icon = set.icons[alias?.parent ?? name]
  if (!icon) return undefined
  const { left = 0, top = 0, width = set.width, height = set.height } = { ...icon, ...alias }
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" ` +
    `width="${spriteSize}" height="${spriteSize}" viewBox="${left} ${top} ${width} ${height}">${icon.body}</svg>`
  )
}

/** What rendering gave: the sprites in order of set and concept, and each icon that could not be drawn. */
export interface Rendering {
  readonly sprites: Sprite[]
  readonly failures: readonly { readonly set: SetName; readonly name: string; readonly reason: string }[]
}

/** Renders every drawing of the four sets; an icon that the renderer refuses is noted and passed over. */
export async function renderSprites(onSet?: (set: SetName, count: number) => void): Promise<Rendering> {
  const sprites: Sprite[] = []
  const failures: { set: SetName; name: string; reason: string }[] = []
  for (const set of setNames) {
    const icons = iconFile<IconSet>(set, "icons.json")
    const before = sprites.length
    for (const [concept, name] of [...iconNames(set)].sort(([a], [b]) => (a < b ? -1 : 1))) {
      try {
        const svg = svgOf(icons, name)
        if (svg === undefined) throw new Error("The set has no such icon.")
        const { data, info } = await sharp(Buffer.from(svg))
          .ensureAlpha()
          .raw()
          .toBuffer({ resolveWithObject: true })
        if (info.width !== spriteSize || info.height !== spriteSize || info.channels !== 4)
          throw new Error(`Rendered as ${info.width}x${info.height}x${info.channels}.`)
        const sprite = spriteFrom(concept, set, name, new Uint8Array(data))
        if (!sprite) throw new Error("Nothing visible.")
        sprites.push(sprite)
      } catch (error) {
        failures.push({ set, name, reason: error instanceof Error ? error.message : String(error) })
      }
    }
    onSet?.(set, sprites.length - before)
  }
  return { sprites, failures }
}

interface SpriteIndex {
  readonly versions: Readonly<Record<string, string>>
  readonly failures: Rendering["failures"]
  readonly sprites: readonly Omit<Sprite, "rgba">[]
}

function versions(): Record<string, string> {
  return Object.fromEntries(setNames.map((set) => [set, setVersion(set)]))
}

/**
 * All sprites, from `folder` (`sprites.safetensors`, U8 [N, 64, 64, 4], and `sprites.json`) where they were rendered before
 * from the same package versions; otherwise rendered and kept there.
 */
export async function loadSprites(
  folder: string,
  onSet?: (set: SetName, count: number) => void,
): Promise<Sprite[]> {
  const indexFile = join(folder, "sprites.json")
  const pixelFile = join(folder, "sprites.safetensors")
  if (existsSync(indexFile)) {
    const index = JSON.parse(readFileSync(indexFile, "utf8")) as SpriteIndex
    if (JSON.stringify(index.versions) === JSON.stringify(versions())) {
      const all = readBytesTensor(pixelFile, "sprites").data
      const size = spriteSize * spriteSize * 4
      return index.sprites.map((entry, i) => ({ ...entry, rgba: all.subarray(i * size, (i + 1) * size) }))
    }
  }
  mkdirSync(folder, { recursive: true })
  const { sprites, failures } = await renderSprites(onSet)
  const size = spriteSize * spriteSize * 4
  const all = new Uint8Array(sprites.length * size)
  for (const [i, sprite] of sprites.entries()) all.set(sprite.rgba, i * size)
  writeTensorFile(pixelFile, { sprites: tensor("uint8", [sprites.length, spriteSize, spriteSize, 4], all) })
  const index: SpriteIndex = {
    versions: versions(),
    failures,
    sprites: sprites.map(({ rgba: _, ...entry }) => entry),
  }
  writeTextFile(indexFile, JSON.stringify(index))
  return sprites
}
