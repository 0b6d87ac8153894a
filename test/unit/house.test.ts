import { existsSync, readdirSync, readFileSync } from "node:fs"
import { basename, dirname, join, relative } from "node:path"
import { describe, expect, it } from "vitest"

const root = join(import.meta.dirname, "../..")

/** Floors of the house: a room imports from the floors below it, and from itself. */
const floors: Readonly<Record<string, number>> = {
  ground: 0,
  formats: 1,
  schedulers: 1,
  graph: 2,
  tokenizers: 2,
  models: 3,
  runtime: 3,
  pipelines: 4,
  training: 5,
  evaluation: 5,
  jobs: 5,
  recipes: 5,
  server: 6,
  cli: 7,
}
/** The public face, `src/index.ts`, stands on all of it but the command line. */
const FACE = 6.5

/** Folders of src that know Node. Everything else runs in a browser too. */
const nodeRooms = ["runtime/platform/node", "cli"]
const MAX_LINES = 400

interface SourceFile {
  /** From the repository's root, with slashes. */
  readonly path: string
  readonly text: string
  readonly imports: readonly string[]
}

const sources = filesOf("src")
const everything = [sources, ...["test", "bench", "examples", "inkling", "bin"].map(filesOf)].flat()
const manifest = JSON.parse(readFileSync(join(root, "package.json"), "utf8"))

describe("the house", () => {
  it("has a floor for every room", () => {
    const rooms = sources.map(({ path }) => roomOf(path)).filter((room) => room !== undefined)
    expect([...new Set(rooms)].filter((room) => !(room in floors))).toEqual([])
  })

  it("imports downward or within a room, never sideways or up", () => {
    const wrong = edges().filter(([from, to]) => {
      const inside = roomOf(from) === roomOf(to)
      return !inside && floorOf(to) >= floorOf(from)
    })
    expect(wrong.map(([from, to]) => `${from} imports ${to}`)).toEqual([])
  })

  it("has no circles of imports", () => {
    expect(circleIn(edges())).toEqual([])
  })

  it("imports only files that are there", () => {
    const paths = new Set(sources.map(({ path }) => path))
    expect(edges().filter(([, to]) => !paths.has(to))).toEqual([])
  })

  it("keeps Node in the rooms that may know it", () => {
    const wrong = sources.filter(
      ({ path, imports }) =>
        imports.some((name) => name.startsWith("node:")) &&
        !nodeRooms.some((room) => path.startsWith(`src/${room}/`)),
    )
    expect(paths(wrong)).toEqual([])
  })

  it("keeps ONNX Runtime behind the runtime", () => {
    const wrong = sources.filter(
      ({ path, imports }) =>
        imports.some((name) => name.startsWith("onnxruntime")) && !path.startsWith("src/runtime/"),
    )
    expect(paths(wrong)).toEqual([])
  })

  it("depends on what it imports, and on nothing else", () => {
    const imported = new Set(
      sources
        // The one file of src that runs from source only, and is not published.
        .filter(({ path }) => basename(path) !== "from-source.js")
        .flatMap(({ imports }) => imports.map(packageOf)),
    )
    imported.delete(undefined)
    const declared = { ...manifest.dependencies, ...manifest.peerDependencies }
    expect([...imported].sort()).toEqual(Object.keys(declared).sort())
  })

  it(`has no file of ${MAX_LINES} lines`, () => {
    expect(paths(everything.filter(({ text }) => text.split("\n").length > MAX_LINES))).toEqual([])
  })

  it("has no `any`", () => {
    const any = /(?::|\bas|[<,|]|\bsatisfies)\s*any\b(?!\w|\s*\w)/
    const wrong = everything.filter(
      ({ path, text }) => path.endsWith(".ts") && any.test(withoutComments(text)),
    )
    expect(paths(wrong)).toEqual([])
  })

  it("names files in kebab-case", () => {
    const kebab = /^[a-z0-9]+(-[a-z0-9]+)*(\.test)?\.(ts|js)$/
    expect(paths(everything.filter(({ path }) => !kebab.test(basename(path))))).toEqual([])
  })

  it("says of every exported function what it does", () => {
    const wrong = sources.flatMap(({ path, text }) => {
      // What the platform's halves export is said once, where the interface is.
      if (/^src\/runtime\/platform\/(node|browser)\//.test(path)) return []
      return undocumented(text).map((name) => `${path}: ${name}`)
    })
    expect(wrong).toEqual([])
  })
})

function filesOf(folder: string): SourceFile[] {
  if (!existsSync(join(root, folder))) return []
  return readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && /\.(ts|js)$/.test(entry.name))
    .map((entry) => {
      const file = join(entry.parentPath, entry.name)
      const text = readFileSync(file, "utf8")
      return { path: relative(root, file).replaceAll("\\", "/"), text, imports: importsOf(text) }
    })
}

/** What a module imports: `from "x"`, `import "x"` and `import("x")`. */
function importsOf(text: string): string[] {
  const pattern = /\bfrom\s+"([^"]+)"|^import\s+"([^"]+)"|\bimport\("([^"]+)"\)/gm
  return [...withoutComments(text).matchAll(pattern)].map(([, from, bare, lazy]) => from ?? bare ?? lazy)
}

function withoutComments(text: string): string {
  return text.replace(/^\s*\/\/.*$/gm, "").replace(/^\s*\/\*[\s\S]*?\*\//gm, "")
}

/** Imports between files of src. */
function edges(): [from: string, to: string][] {
  return sources.flatMap(({ path, imports }) =>
    imports
      .filter((name) => name.startsWith("."))
      .map((name): [string, string] => [path, join(dirname(path), name).replaceAll("\\", "/")]),
  )
}

function roomOf(path: string): string | undefined {
  const [, room, ...rest] = path.split("/")
  return rest.length > 0 ? room : undefined
}

function floorOf(path: string): number {
  const room = roomOf(path)
  return room === undefined ? FACE : floors[room]
}

function packageOf(name: string): string | undefined {
  if (/^(\.|#|node:)/.test(name)) return undefined
  return name
    .split("/")
    .slice(0, name.startsWith("@") ? 2 : 1)
    .join("/")
}

/** The files of one circle in their order, or nothing. */
function circleIn(all: readonly (readonly [from: string, to: string])[]): string[] {
  const to = new Map<string, string[]>()
  for (const [from, next] of all) to.set(from, [...(to.get(from) ?? []), next])
  const done = new Set<string>()
  const visit = (path: string, trail: readonly string[]): string[] => {
    if (trail.includes(path)) return [...trail.slice(trail.indexOf(path)), path]
    if (done.has(path)) return []
    for (const next of to.get(path) ?? []) {
      const circle = visit(next, [...trail, path])
      if (circle.length > 0) return circle
    }
    done.add(path)
    return []
  }
  for (const path of to.keys()) {
    const circle = visit(path, [])
    if (circle.length > 0) return circle
  }
  return []
}

/** Exported functions without a comment right above them; overloads of one function share theirs. */
function undocumented(text: string): string[] {
  const lines = text.split("\n")
  const names: string[] = []
  let known = ""
  for (const [i, line] of lines.entries()) {
    const [, name] =
      /^export (?:async )?function\*? ?(\w+)/.exec(line) ??
      /^export const (\w+) = (?:async )?\(/.exec(line) ??
      []
    if (name === undefined || name === known) continue
    if (!lines[i - 1]?.trimEnd().endsWith("*/")) names.push(name)
    known = name
  }
  return names
}

function paths(files: readonly SourceFile[]): string[] {
  return files.map(({ path }) => path)
}
