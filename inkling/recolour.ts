/** What the pixels of a drawing say about its colour. */
export interface ColourProfile {
  /** Hue of most of the drawing in degrees, 0 (red) to 360; 0 where nothing has a hue. */
  readonly hue: number
  /** Whether one hue fills the drawing, so that painting that hue another colour gives the same thing in that colour. */
  readonly singleHue: boolean
  /** Share of what is visible that has that hue, 0 to 1. */
  readonly share: number
  /** Luma (0 to 255) of the pixels that have that hue; what recolouring maps to the target colour itself. */
  readonly luma: number
}

/** Red, green and blue, 0 to 255. */
export type Rgb = readonly [number, number, number]

/** The paint for each colour word, as things wear it. */
export const paints = {
  red: [222, 44, 48],
  orange: [245, 130, 32],
  yellow: [252, 208, 48],
  green: [62, 165, 72],
  blue: [40, 110, 225],
  purple: [140, 70, 190],
  pink: [245, 130, 175],
  brown: [135, 85, 52],
  black: [45, 45, 50],
  white: [240, 240, 243],
  grey: [140, 144, 150],
} as const satisfies Readonly<Record<string, Rgb>>

/** A colour word of {@link paints}. */
export type PaintName = keyof typeof paints

/** The colour of a background: black as it is, every other paint a quarter of the way to white, so that things stand out from it. */
export function groundOf(name: PaintName): Rgb {
  const paint: Rgb = paints[name]
  if (name === "black") return paint
  const [r, g, b] = paint.map((c) => Math.round(c + (255 - c) * 0.25))
  return [r, g, b]
}

const hueReach = 38 // degrees to either side of the main hue that belong to it
const leastChroma = 0.16 // (max - min) / 255 below which a pixel has no hue
const leastShare = 0.38 // of what is visible, that the main hue must cover to stand for the whole drawing
const leastShareOfHued = 0.75
const binCount = 72

/** Rec. 601 luma. */
function lumaOf(r: number, g: number, b: number): number {
  return 0.299 * r + 0.587 * g + 0.114 * b
}

/** Hue in degrees of a colour whose largest and smallest channels differ. */
function hueOf(r: number, g: number, b: number): number {
  const max = Math.max(r, g, b)
  const chroma = max - Math.min(r, g, b)
  if (max === r) return 60 * (((g - b) / chroma + 6) % 6)
  if (max === g) return 60 * ((b - r) / chroma + 2)
  return 60 * ((r - g) / chroma + 4)
}

function hueDistance(a: number, b: number): number {
  const d = Math.abs(a - b) % 360
  return d > 180 ? 360 - d : d
}

/**
 * Main hue of RGBA pixels (straight alpha), and whether it is the only one: it covers 38% of what is visible and 75% of
 * what has a hue at all.
 */
export function colourProfile(rgba: Uint8Array): ColourProfile {
  const bins = new Float64Array(binCount)
  let visible = 0
  let hued = 0
  for (let i = 0; i < rgba.length; i += 4) {
    const [r, g, b, alpha] = [rgba[i], rgba[i + 1], rgba[i + 2], rgba[i + 3] / 255]
    visible += alpha
    if (Math.max(r, g, b) - Math.min(r, g, b) < leastChroma * 255) continue
    bins[Math.floor((hueOf(r, g, b) / 360) * binCount) % binCount] += alpha
    hued += alpha
  }
  const reach = Math.round((hueReach / 360) * binCount)
  let hue = 0
  let most = 0
  for (let c = 0; c < binCount; c++) {
    let near = 0
    for (let d = -reach; d <= reach; d++)
      near += bins[(c + d + binCount) % binCount] * (1 - Math.abs(d) / (reach + 1))
    if (near > most) {
      most = near
      hue = ((c + 0.5) / binCount) * 360
    }
  }
  let covered = 0
  let luma = 0
  for (let i = 0; i < rgba.length; i += 4) {
    const weight = hueWeight(rgba[i], rgba[i + 1], rgba[i + 2], hue) * (rgba[i + 3] / 255)
    covered += weight
    luma += weight * lumaOf(rgba[i], rgba[i + 1], rgba[i + 2])
  }
  const singleHue = most > 0 && covered > leastShare * visible && covered > leastShareOfHued * hued
  return {
    hue,
    singleHue,
    share: visible > 0 ? covered / visible : 0,
    luma: covered > 0 ? luma / covered : 0,
  }
}

/** How much of a pixel belongs to the main hue, 0 to 1. */
function hueWeight(r: number, g: number, b: number, hue: number): number {
  const max = Math.max(r, g, b)
  const chroma = max - Math.min(r, g, b)
  if (chroma < 12) return 0
  const away = hueDistance(hueOf(r, g, b), hue)
  if (away > hueReach) return 0
  const saturation = Math.min(1, (chroma / max - 0.08) / 0.22)
  return Math.max(0, saturation) * Math.min(1, (hueReach - away) / 8)
}

/**
 * The drawing with its main hue painted `target`, every other part as it was. Shading stays: a pixel darker than the hue's
 * usual luma is a darker target, a lighter one goes towards white.
 */
export function recolour(rgba: Uint8Array, profile: ColourProfile, target: Rgb): Uint8Array {
  const out = rgba.slice()
  const usual = Math.max(profile.luma, 1)
  for (let i = 0; i < out.length; i += 4) {
    if (out[i + 3] === 0) continue
    const [r, g, b] = [out[i], out[i + 1], out[i + 2]]
    const weight = hueWeight(r, g, b, profile.hue)
    if (weight === 0) continue
    const luma = lumaOf(r, g, b)
    const dark = Math.min(1, luma / usual)
    const light = luma > usual ? (0.6 * (luma - usual)) / (255 - usual) : 0
    for (let c = 0; c < 3; c++) {
      const shaded = target[c] * dark
      const painted = shaded + (255 - shaded) * light
      out[i + c] = Math.round(out[i + c] + (painted - out[i + c]) * weight)
    }
  }
  return out
}
