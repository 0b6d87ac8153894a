import type { Pixels } from "../src/ground/image.ts"
import type { Placement, Side } from "./compose.ts"
import { composePicture, placeMany, placeOne, placePair } from "./compose.ts"
import type { Random } from "./random.ts"
import { between, pick, shuffle } from "./random.ts"
import type { PaintName, Rgb } from "./recolour.ts"
import { groundOf, paints, recolour } from "./recolour.ts"
import type { Sprite } from "./sprites.ts"
import { hasSkin } from "./sprites.ts"

/** What a picture is about. */
export type Kind = "plain" | "background" | "recoloured" | "counted" | "related"

/** What a set of training pictures is made of. */
export interface Mixture {
  /** Share of each kind of picture. */
  readonly shares: Readonly<Record<Kind, number>>
  /** How many times as often as others a drawing of a common concept is taken. */
  readonly commonWeight: number
}

/** Everything that Inkling is to draw, and, to learn shapes by, mostly single common things. */
export const mixtures: Readonly<Record<"everything" | "things", Mixture>> = {
  everything: {
    shares: { plain: 0.55, background: 0.12, recoloured: 0.15, counted: 0.08, related: 0.1 },
    commonWeight: 3,
  },
  things: {
    shares: { plain: 0.74, background: 0.08, recoloured: 0.1, counted: 0.04, related: 0.04 },
    commonWeight: 10,
  },
}

const white: Rgb = [255, 255, 255]
const sides: readonly Side[] = ["left", "right", "above", "below"]
const colouredGround = 0.2 // share of counted and related pictures on a coloured background

/** One picture before it is drawn; colours by name. */
export interface Sketch {
  readonly kind: Kind
  readonly sprite: Sprite
  readonly colour?: PaintName
  readonly background?: PaintName
  readonly count?: number
  /** The second of two things, and where the first is seen from it. */
  readonly other?: Sprite
  readonly side?: Side
}

/** Kinds for `count` pictures in random order: each share is exact, to within one picture. */
export function kindsFor(count: number, { shares }: Mixture, random: Random): Kind[] {
  const kinds: Kind[] = []
  let total = 0
  for (const [kind, share] of Object.entries(shares) as [Kind, number][]) {
    total += share
    while (kinds.length < Math.round(total * count)) kinds.push(kind)
  }
  return shuffle(random, kinds)
}

/** An endless deck: deals every card once per round, in a new order each round. */
export function deckOf<T>(cards: readonly T[], random: Random): () => T {
  let round: T[] = []
  return () => {
    if (round.length === 0) round = shuffle(random, [...cards])
    return round.pop()!
  }
}

/** The decks that sketches are dealt from, one for each way a drawing is used. */
export interface Decks {
  readonly plain: () => Sprite
  readonly background: () => Sprite
  readonly recoloured: () => Sprite
  readonly counted: () => Sprite
  readonly related: () => Sprite
}

/** What is known of a concept beyond its drawings. */
export interface ConceptUse {
  /** One of the concepts that people name most: its drawings are dealt `commonWeight` times per round. */
  readonly common: boolean
  /** Whether the thing may be painted another colour; false where the name itself says a colour. */
  readonly paintable: boolean
  /** Whether "three of it" and "it left of something" make sense. */
  readonly countable: boolean
}

/** Decks over the sprites. Every drawing is in the plain and background decks; the others hold what suits them. */
export function decksFrom(
  sprites: readonly Sprite[],
  use: (concept: string) => ConceptUse,
  { commonWeight }: Mixture,
  random: Random,
): Decks {
  const weighted = sprites.flatMap((sprite) =>
    new Array<Sprite>(use(sprite.concept).common ? commonWeight : 1).fill(sprite),
  )
  const deck = (suits: (sprite: Sprite) => boolean) => deckOf(weighted.filter(suits), random)
  const countable = (sprite: Sprite) => use(sprite.concept).countable
  return {
    plain: deck(() => true),
    background: deck(() => true),
    recoloured: deck((sprite) => isRepaintable(sprite) && use(sprite.concept).paintable),
    counted: deck(countable),
    related: deck(countable),
  }
}

/**
 * Whether painting the main hue paints the thing. A person's main hue is the skin or the hair, and the clothes would stay as
 * they were; a hand is all skin.
 */
function isRepaintable({ concept, singleHue, share }: Sprite): boolean {
  return singleHue && (!hasSkin(concept) || share > 0.8)
}

const paintNames = Object.keys(paints) as PaintName[]
const groundNames = paintNames.filter((name) => name !== "white")

/** Whether most of what is visible differs clearly from the background. */
function standsOut(rgba: Uint8Array, ground: Rgb): boolean {
  let visible = 0
  let distinct = 0
  for (let i = 0; i < rgba.length; i += 12) {
    if (rgba[i + 3] < 128) continue
    visible++
    const far =
      Math.abs(rgba[i] - ground[0]) + Math.abs(rgba[i + 1] - ground[1]) + Math.abs(rgba[i + 2] - ground[2])
    if (far > 120) distinct++
  }
  return distinct > 0.6 * visible
}

/** A background on which all the drawings can be seen. */
function groundFor(drawings: readonly Uint8Array[], random: Random): PaintName {
  for (const name of shuffle(random, [...groundNames]))
    if (drawings.every((rgba) => standsOut(rgba, groundOf(name)))) return name
  return "grey"
}

/** Deals one picture of a kind. */
export function sketchOf(kind: Kind, decks: Decks, random: Random): Sketch {
  const sprite = decks[kind]()
  if (kind === "plain") return { kind, sprite }
  if (kind === "background") return { kind, sprite, background: groundFor([sprite.rgba], random) }
  if (kind === "recoloured") {
    const colour = pick(random, paintNames)
    // White on white would teach that "white" is nothing at all.
    if (colour !== "white" && random() >= colouredGround) return { kind, sprite, colour }
    return {
      kind,
      sprite,
      colour,
      background: groundFor([recolour(sprite.rgba, sprite, paints[colour])], random),
    }
  }
  if (kind === "counted") {
    const count = 2 + Math.floor(random() * 4)
    if (random() >= colouredGround) return { kind, sprite, count }
    return { kind, sprite, count, background: groundFor([sprite.rgba], random) }
  }
  let other = decks.related()
  while (other.concept === sprite.concept) other = decks.related()
  const side = pick(random, sides)
  if (random() >= colouredGround) return { kind, sprite, other, side }
  return { kind, sprite, other, side, background: groundFor([sprite.rgba, other.rgba], random) }
}

function placementsOf(sketch: Sketch, random: Random): Placement[] {
  const { sprite, colour, count, other, side } = sketch
  const stamp = colour ? { ...sprite, rgba: recolour(sprite.rgba, sprite, paints[colour]) } : sprite
  if (count !== undefined) return placeMany(stamp, count, random)
  if (other && side) return placePair(stamp, other, side, random)
  return placeOne(stamp, random)
}

/** Draws a sketch: 64x64 RGB. */
export function drawSketch(sketch: Sketch, random: Random): Pixels {
  const ground = sketch.background ? groundOf(sketch.background) : white
  const varied = sketch.background
    ? ground.map((c) => Math.round(Math.min(255, Math.max(0, c + between(random, -8, 8)))))
    : ground
  return composePicture(placementsOf(sketch, random), [varied[0], varied[1], varied[2]])
}
