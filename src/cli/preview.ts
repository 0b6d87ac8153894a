import type { Pixels } from "../ground/image.ts"

/** How a terminal can show a picture: by kitty's protocol, by iTerm2's, or as coloured half blocks. */
export type PreviewKind = "kitty" | "iterm2" | "blocks"

/** Height in lines, and so twice as many pixels of blocks. */
const ROWS = 16

/**
 * What the terminal on standard output can show, by what it says of itself; undefined where colours would come out
 * wrong. `colorDepth` in bits.
 */
export function previewKind(
  env: Readonly<Record<string, string | undefined>>,
  colorDepth: number,
): PreviewKind | undefined {
  const { TERM = "", TERM_PROGRAM = "", LC_TERMINAL } = env
  if (TERM === "dumb") return undefined
  // Multiplexers keep pictures to themselves, and turn colours into those that the terminal outside has.
  const multiplexed = env.TMUX !== undefined || env.STY !== undefined || /^(tmux|screen)/.test(TERM)
  if (!multiplexed) {
    if (env.KITTY_WINDOW_ID !== undefined || TERM === "xterm-kitty" || /^ghostty$/i.test(TERM_PROGRAM))
      return "kitty"
    if (TERM_PROGRAM === "iTerm.app" || LC_TERMINAL === "iTerm2" || TERM_PROGRAM === "WezTerm")
      return "iterm2"
  }
  if (env.NO_COLOR !== undefined && env.NO_COLOR !== "") return undefined
  return colorDepth >= 24 || env.TMUX !== undefined ? "blocks" : undefined
}

/** A picture as text for a terminal, with a line break at its end. `png` is its file. */
export function previewText(picture: Pixels, png: Uint8Array, kind: PreviewKind, columns: number): string {
  if (kind === "kitty") return kittyText(png)
  if (kind === "iterm2") return iterm2Text(png)
  return blocksText(picture, columns)
}

/** A picture as lines of half blocks, to be written over again, or undefined where a terminal has no place for them. */
export function liveText(
  picture: Pixels,
  env: Readonly<Record<string, string | undefined>>,
  terminal: Pick<NodeJS.WriteStream, "isTTY" | "columns" | "rows" | "getColorDepth">,
): string | undefined {
  const { isTTY, columns, rows } = terminal
  // The line of the progress stands under it.
  if (!isTTY || rows < ROWS + 2 || previewKind(env, terminal.getColorDepth()) === undefined) return undefined
  return blocksText(picture, columns)
}

/** https://sw.kovidgoyal.net/kitty/graphics-protocol: a PNG in pieces of at most 4096, without an answer. */
function kittyText(png: Uint8Array): string {
  const pieces =
    Buffer.from(png)
      .toString("base64")
      .match(/.{1,4096}/g) ?? []
  const commands = pieces.map((piece, i) => {
    const more = i < pieces.length - 1 ? 1 : 0
    const keys = i === 0 ? `a=T,f=100,q=2,r=${ROWS},m=${more}` : `m=${more}`
    return `\x1b_G${keys};${piece}\x1b\\`
  })
  return `${commands.join("")}\n`
}

/** https://iterm2.com/documentation-images.html */
function iterm2Text(png: Uint8Array): string {
  const data = Buffer.from(png).toString("base64")
  return `\x1b]1337;File=inline=1;size=${png.length};height=${ROWS};preserveAspectRatio=1:${data}\x07\n`
}

/** Each cell is two pixels, the upper one drawn over the lower one's colour. */
function blocksText(picture: Pixels, columns: number): string {
  const small = shrink(picture, columns, 2 * ROWS)
  const colour = (x: number, y: number) =>
    small.data
      .subarray(3 * (y * small.width + x))
      .slice(0, 3)
      .join(";")
  let text = ""
  for (let y = 0; y < small.height; y += 2) {
    for (let x = 0; x < small.width; x++) {
      const below = y + 1 < small.height ? `\x1b[48;2;${colour(x, y + 1)}m` : ""
      text += `\x1b[38;2;${colour(x, y)}m${below}▀`
    }
    text += "\x1b[0m\n"
  }
  return text
}

/** The picture within so many pixels, each the mean of those it stands for; transparency lies on white. */
function shrink(picture: Pixels, maxWidth: number, maxHeight: number): Pixels {
  const { channels, data } = picture
  const scale = Math.min(1, maxWidth / picture.width, maxHeight / picture.height)
  const width = Math.max(1, Math.floor(picture.width * scale))
  const height = Math.max(1, Math.floor(picture.height * scale))
  const out = new Uint8Array(3 * width * height)
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const [left, right] = [x, x + 1].map((at) => Math.floor((at * picture.width) / width))
      const [top, bottom] = [y, y + 1].map((at) => Math.floor((at * picture.height) / height))
      for (let c = 0; c < 3; c++) {
        let sum = 0
        for (let v = top; v < bottom; v++)
          for (let u = left; u < right; u++) {
            const at = (v * picture.width + u) * channels
            const alpha = channels === 4 ? data[at + 3] / 255 : 1
            sum += data[at + c] * alpha + 255 * (1 - alpha)
          }
        out[3 * (y * width + x) + c] = Math.round(sum / ((right - left) * (bottom - top)))
      }
    }
  return { width, height, channels: 3, data: out }
}
