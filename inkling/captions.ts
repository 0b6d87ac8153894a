import * as chinese from "./chinese.ts"
import type { Side } from "./compose.ts"
import type { Concept, Language } from "./concepts.ts"
import * as english from "./english.ts"
import type { Random } from "./random.ts"
import { pick } from "./random.ts"
import type { PaintName, Rgb } from "./recolour.ts"
import { paints } from "./recolour.ts"
import type { SetName } from "./sprites.ts"

export type ColourName = PaintName

/** What a caption tells of a picture: one thing, up to five of it, or two things. */
export interface Scene {
  /** The set that everything in the picture comes from; undefined where two sets meet. */
  readonly set?: SetName
  /** One thing, or two where `relation` says how they stand. */
  readonly objects: readonly { readonly concept: Concept; readonly colour?: ColourName }[]
  /** Where the first of two things is, seen from the second. */
  readonly relation?: Side
  /** How many of one thing there are, 1 to 5. */
  readonly count?: number
  /** White where it is undefined, which a caption mentions only now and then. */
  readonly background?: ColourName
}

/** Colour words: the paint, and how each language says it. */
export const colours: Readonly<
  Record<ColourName, { readonly rgb: Rgb; readonly en: string; readonly zh: string }>
> = {
  red: { rgb: paints.red, en: "red", zh: "红色" },
  orange: { rgb: paints.orange, en: "orange", zh: "橙色" },
  yellow: { rgb: paints.yellow, en: "yellow", zh: "黄色" },
  green: { rgb: paints.green, en: "green", zh: "绿色" },
  blue: { rgb: paints.blue, en: "blue", zh: "蓝色" },
  purple: { rgb: paints.purple, en: "purple", zh: "紫色" },
  pink: { rgb: paints.pink, en: "pink", zh: "粉色" },
  brown: { rgb: paints.brown, en: "brown", zh: "棕色" },
  black: { rgb: paints.black, en: "black", zh: "黑色" },
  white: { rgb: paints.white, en: "white", zh: "白色" },
  grey: { rgb: paints.grey, en: "grey", zh: "灰色" },
}

/** Words for how a set draws: before a noun, and after it. */
interface StyleWords {
  readonly adjectives: readonly string[]
  readonly phrases: readonly string[]
}

const styles: Readonly<Record<Language, Readonly<Record<SetName, StyleWords>>>> = {
  en: {
    noto: { adjectives: ["noto", "noto style"], phrases: ["noto style", "google style"] },
    "fluent-emoji": { adjectives: ["3D", "glossy", "glossy 3D"], phrases: ["3D style", "glossy 3D style"] },
    "fluent-emoji-flat": { adjectives: ["flat", "simple flat"], phrases: ["flat style", "flat design"] },
    twemoji: { adjectives: ["twemoji", "twitter style"], phrases: ["twemoji style", "twitter style"] },
  },
  zh: {
    noto: { adjectives: ["谷歌风格的"], phrases: ["谷歌风格", "Noto风格"] },
    "fluent-emoji": { adjectives: ["立体的", "立体", "有光泽的"], phrases: ["立体风格", "3D风格"] },
    "fluent-emoji-flat": {
      adjectives: ["扁平的", "扁平", "扁平风格的"],
      phrases: ["扁平风格", "扁平化风格"],
    },
    twemoji: { adjectives: ["推特风格的"], phrases: ["推特风格", "Twemoji风格"] },
  },
}

/** A way to say something, and how often it is said beside the others. */
type Way = readonly [weight: number, say: () => string]

function say(random: Random, ways: readonly Way[]): string {
  let place = random() * ways.reduce((sum, [weight]) => sum + weight, 0)
  for (const [weight, way] of ways) if ((place -= weight) < 0) return way()
  return ways[0][1]()
}

/** The first name three times in five, else any. */
function pickName(names: readonly string[], random: Random): string {
  return random() < 0.6 ? names[0] : pick(random, names)
}

/** The names of a thing as it is drawn: without the colours they say where it has been painted another. */
function namesOf({ concept, colour }: Scene["objects"][number], language: Language): readonly string[] {
  return colour ? paintedNames(concept, language) : concept.names[language]
}

function paintedNames(concept: Concept, language: Language): string[] {
  const strip = language === "en" ? english.withoutColour : chinese.withoutColour
  return [...new Set(concept.names[language].map(strip).filter((name) => name !== undefined))]
}

/** Whether a thing can be named in another colour than its own: "blue apple" for the red apple, but no "blue red envelope". */
export function isPaintable(concept: Concept): boolean {
  return paintedNames(concept, "en").length > 0 && paintedNames(concept, "zh").length > 0
}

const view = /^(?:sun(?:rise|set)|city|foggy|night|bridge at|moon viewing|landslide|desert$)/

/** Whether "three of it" and "it left of something" make sense: one thing with an outline, not bread, glasses or a sunset. */
export function isCountable(concept: Concept): boolean {
  return (
    english.formOf(concept.en) === "countable" && !chinese.isCounted(concept.zh) && !view.test(concept.en)
  )
}

/**
 * Says what a picture shows, as people who want such a picture would type it: most often just its name, with or without an
 * article or a measure word. Only what `isPaintable` may have a colour, only what `isCountable` a count.
 */
export function caption(scene: Scene, language: Language, random: Random): string {
  return language === "en"
    ? englishPlace(englishShown(scene, random), scene, random)
    : chinesePlace(chineseShown(scene, random), scene, random)
}

/** Grey is spelt the American way one time in three. */
function englishColour(colour: ColourName, random: Random): string {
  return colour === "grey" && random() < 1 / 3 ? "gray" : colours[colour].en
}

function englishPainted(name: string, colour: ColourName | undefined, random: Random): string {
  return colour ? `${englishColour(colour, random)} ${name}` : name
}

const kinds = ["sticker", "icon", "emoji", "drawing", "picture"] as const

function englishShown(scene: Scene, random: Random): string {
  const { objects, count = 1 } = scene
  if (objects.length > 1) return englishPair(scene, random)
  const [{ concept, colour }] = objects
  const name = pickName(namesOf(objects[0], "en"), random)
  if (count > 1) {
    const number = random() < 0.33 ? String(count) : english.numeral(count)
    return `${number} ${englishPainted(english.pluralOf(name), colour, random)}`
  }
  const painted = englishPainted(name, colour, random)
  const object = (phrase: string) => english.asObject(phrase, name, random)
  const kind = pick(random, kinds)
  const ways: Way[] = [
    [30, () => painted],
    [34, () => object(painted)],
    [5, () => `${english.withIndefiniteArticle(kind)} of ${object(painted)}`],
    [3, () => `${painted} ${kind}`],
    [2, () => english.withIndefiniteArticle(`${painted} ${kind}`)],
  ]
  if (scene.set) {
    const { adjectives, phrases } = styles.en[scene.set]
    const styled = `${pick(random, adjectives)} ${painted}`
    ways.push(
      [4, () => styled],
      [5, () => object(styled)],
      [3, () => `${styled} ${kind}`],
      [3, () => `${object(painted)} in ${pick(random, phrases)}`],
      [4, () => `${painted}, ${pick(random, phrases)}`],
    )
  }
  const keywords = concept.keywords.en
  if (!colour && keywords.length > 0) {
    ways.push([2, () => pick(random, keywords)], [2, () => `${painted}, ${pick(random, keywords)}`])
  }
  return say(random, ways)
}

const englishSides: Readonly<Record<Side, readonly string[]>> = {
  left: ["left of", "to the left of", "on the left of"],
  right: ["right of", "to the right of", "on the right of"],
  above: ["above", "over"],
  below: ["below", "under"],
}

const opposite: Readonly<Record<Side, Side>> = {
  left: "right",
  right: "left",
  above: "below",
  below: "above",
}
const englishPlaces: Readonly<Record<Side, string>> = {
  left: "on the left",
  right: "on the right",
  above: "on top",
  below: "at the bottom",
}

function englishPair({ objects, relation = "left" }: Scene, random: Random): string {
  const [[a, bareA], [b, bareB]] = objects.map((object) => {
    const name = pickName(namesOf(object, "en"), random)
    const painted = englishPainted(name, object.colour, random)
    return [english.asObject(painted, name, random), painted]
  })
  return say(random, [
    [5, () => `${a} ${pick(random, englishSides[relation])} ${b}`],
    [2, () => `${bareA} ${pick(random, englishSides[relation])} ${bareB}`],
    [2, () => `${a} ${englishPlaces[relation]}, ${b} ${englishPlaces[opposite[relation]]}`],
    [1, () => `${b} ${englishPlaces[opposite[relation]]} and ${a} ${englishPlaces[relation]}`],
  ])
}

/** What is shown, and on what. */
function englishPlace(shown: string, { background }: Scene, random: Random): string {
  if (background === undefined && random() >= 0.06) return shown
  const colour = englishColour(background ?? "white", random)
  return say(random, [
    [5, () => `${shown} on ${english.withIndefiniteArticle(`${colour} background`)}`],
    [3, () => `${shown}, ${colour} background`],
    [1, () => `${shown} on ${colour}`],
    [1, () => `${colour} background, ${shown}`],
  ])
}

/** A Chinese noun, and the number and measure word that come before it, "" where it has a number already. */
interface Counted {
  readonly noun: string
  readonly number: string
}

function chineseShown(scene: Scene, random: Random): string {
  const { relation = "left", count = 1 } = scene
  const [first, second] = scene.objects.map((object): Counted => {
    const names = namesOf(object, "zh").filter((name) => count === 1 || !chinese.isCounted(name))
    const name = chinese.asNoun(pickName(names, random), object.concept.en)
    const noun = object.colour ? chinesePainted(name, object.colour, random) : name
    return { noun, number: chineseNumber(name, count, random) }
  })
  if (second) return chinesePair(first, second, relation, random)
  return count > 1 ? first.number + first.noun : chineseThing(first, scene, random)
}

function chineseNumber(name: string, count: number, random: Random): string {
  if (chinese.isCounted(name)) return ""
  const number = count > 1 && random() < 0.25 ? String(count) : chinese.numeral(count)
  return number + pick(random, chinese.measuresOf(name))
}

function chinesePainted(noun: string, colour: ColourName, random: Random): string {
  const word = colours[colour].zh
  return say(random, [
    [4, () => `${word}的${noun}`],
    [3, () => word + noun],
    // 蓝苹果; but 黑心 and 灰心 are said of people.
    [noun.length === 2 ? 2 : 0, () => word.slice(0, 1) + noun],
  ])
}

const chineseKinds = ["贴纸", "图标", "图片", "emoji", "插画"] as const

/** One thing, named plainly or as the picture that it is. */
function chineseThing({ noun, number }: Counted, { set, objects }: Scene, random: Random): string {
  const kind = pick(random, chineseKinds)
  const ways: Way[] = [
    [30, () => noun],
    [24, () => number + noun],
    // The tokenizer has other ids for a word with something right after it, so these teach each name a second time.
    [14, () => noun + kind],
    [4, () => `一张${noun}的${kind}`],
    [4, () => `一个${noun}${kind}`],
  ]
  if (set) {
    const { adjectives, phrases } = styles.zh[set]
    const styled = pick(random, adjectives) + noun
    ways.push(
      [6, () => styled],
      [4, () => number + styled],
      [2, () => styled + kind],
      [5, () => `${noun}，${pick(random, phrases)}`],
    )
  }
  const [{ concept, colour }] = objects
  const keywords = concept.keywords.zh
  if (!colour && keywords.length > 0) {
    ways.push([2, () => pick(random, keywords)], [2, () => `${noun}，${pick(random, keywords)}`])
  }
  return say(random, ways)
}

const chineseSides: Readonly<Record<Side, readonly string[]>> = {
  left: ["左边", "左侧"],
  right: ["右边", "右侧"],
  above: ["上面", "上方"],
  below: ["下面", "下方"],
}

function chinesePair(a: Counted, b: Counted, relation: Side, random: Random): string {
  const side = pick(random, chineseSides[relation])
  const other = pick(random, chineseSides[opposite[relation]])
  return say(random, [
    [4, () => `${b.noun}${side}的${a.noun}`],
    [3, () => `${a.noun}在${b.noun}${pick(random, ["", "的"])}${side}`],
    [2, () => `${b.noun}${side}有${a.number}${a.noun}`],
    [2, () => `${side}是${a.noun}，${other}是${b.noun}`],
    [1, () => `${other}是${b.noun}，${side}是${a.noun}`],
  ])
}

/** What is shown, and on what. */
function chinesePlace(shown: string, { background }: Scene, random: Random): string {
  if (background === undefined && random() >= 0.06) return shown
  const colour = colours[background ?? "white"].zh
  return say(random, [
    [4, () => `${shown}，${colour}背景`],
    [3, () => `${colour}背景上的${shown}`],
    [2, () => `${colour}背景，${shown}`],
    [1, () => `${shown}，背景是${colour}的`],
  ])
}
