import { readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { conceptOf, isLeftOut } from "./sprites.ts"

/** The languages that Inkling reads. */
export type Language = "en" | "zh"

type InBoth<T> = Readonly<Record<Language, T>>

/** A thing that Inkling can draw, and what people call it. */
export interface Concept {
  /** As `conceptOf` writes it: `u2764`. */
  readonly id: string
  readonly emoji: string
  readonly en: string
  readonly zh: string
  /** Every name, `en` and `zh` first. */
  readonly names: InBoth<readonly string[]>
  /** Unicode's keywords in letters that at most {@link sharedBy} concepts have, so that the word alone tells the thing. */
  readonly keywords: InBoth<readonly string[]>
}

/** Most concepts that may share a keyword that still tells them from the others. */
const sharedBy = 2

interface Annotation {
  readonly default?: readonly string[]
  readonly tts?: readonly string[]
}

const packageOf = createRequire(import.meta.url)

function annotationsIn(language: Language): Map<string, { readonly emoji: string } & Annotation> {
  const file = packageOf.resolve(`cldr-annotations-full/annotations/${language}/annotations.json`)
  const { annotations } = JSON.parse(readFileSync(file, "utf8")) as {
    annotations: { annotations: Record<string, Annotation> }
  }
  return new Map(
    Object.entries(annotations.annotations).map(([emoji, annotation]) => [
      idOf(emoji),
      { emoji, ...annotation },
    ]),
  )
}

function idOf(emoji: string): string {
  return conceptOf([...emoji].map((character) => character.codePointAt(0)!.toString(16)).join("-"))
}

/** Names to use in place of those of Unicode. Lines of names.txt: an emoji, English names, a bar, Chinese names. */
function readNames(): Map<string, InBoth<readonly string[]>> {
  const lines = readFileSync(new URL("names.txt", import.meta.url), "utf8")
    .trim()
    .split("\n")
  return new Map(
    lines.map((line) => {
      const [emoji, en, zh] = line.match(/^(\S+) (.+) \| (.+)$/)!.slice(1)
      return [idOf(emoji), { en: en.split(", "), zh: zh.split(", ") }]
    }),
  )
}

const hours = "one two three four five six seven eight nine ten eleven twelve".split(" ")

/** A Unicode name as it can stand in a caption; clock faces are named by the time alone, which is no thing to draw. */
function captionName(name: string, language: Language): string {
  if (language === "zh") return /^[一二两三四五六七八九十]+点半?$/.test(name) ? `${name}的时钟` : name
  const [hour, minutes] = name.split(/ |-/)
  if (hours.includes(hour) && minutes === "o’clock") return `clock showing ${hour} o'clock`
  if (hours.includes(hour) && minutes === "thirty") return `clock showing half past ${hour}`
  return name.replace("’", "'").replace(/[“”]/g, "")
}

/** Concepts with a name in both languages, in the order of Unicode's annotations, without keycaps and what is left out. */
export function loadConcepts(): Concept[] {
  const annotations: InBoth<ReturnType<typeof annotationsIn>> = {
    en: annotationsIn("en"),
    zh: annotationsIn("zh"),
  }
  const better = readNames()
  const ids = [...annotations.en.keys()].filter((id) => {
    const emoji = annotations.en.get(id)!.emoji
    // A hair style is drawn, but never alone in the sets.
    const isDrawn = /\p{Extended_Pictographic}/u.test(emoji) && !/[\u20e3🦰-🦳]/u.test(emoji)
    return isDrawn && !isLeftOut(id) && annotations.zh.has(id)
  })
  const distinctive: InBoth<(id: string) => string[]> = {
    en: distinctiveKeywords(ids, annotations.en),
    zh: distinctiveKeywords(ids, annotations.zh),
  }
  return ids.map((id) => {
    const namesIn = (language: Language) =>
      better.get(id)?.[language] ?? [captionName(annotations[language].get(id)!.tts![0], language)]
    const names = { en: namesIn("en"), zh: namesIn("zh") }
    const keywordsIn = (language: Language) =>
      distinctive[language](id).filter((keyword) => !names[language].includes(keyword))
    return {
      id,
      emoji: annotations.en.get(id)!.emoji,
      en: names.en[0],
      zh: names.zh[0],
      names,
      keywords: { en: keywordsIn("en"), zh: keywordsIn("zh") },
    }
  })
}

/** Leaves out single letters, times and faces typed in punctuation. */
const isWord = /^\p{Script=Han}+$|^\p{L}[\p{L} '-]+$/u

function distinctiveKeywords(
  ids: readonly string[],
  annotations: ReadonlyMap<string, Annotation>,
): (id: string) => string[] {
  const counts = new Map<string, number>()
  const keywordsOf = (id: string) => (annotations.get(id)?.default ?? []).filter((word) => isWord.test(word))
  for (const id of ids) for (const word of keywordsOf(id)) counts.set(word, (counts.get(word) ?? 0) + 1)
  return (id) => keywordsOf(id).filter((word) => counts.get(word)! <= sharedBy)
}

// What people ask for first: hearts and faces, then animals, food, the sky, plants, vehicles, houses and things of the day,
// taken in turn so that any beginning of the list is mixed.
const common = `
❤️ 😀 🐱 🍎 ⭐ 🌹 🚗 🏠 ☂️ 🐶 🍕 ☀️ 🌳 ✈️ 🎈 💔 😂 🐼 🍔 🌈 🌻 🚀 🏰 📷 🐰 🍓 ☁️ 🍀 🚲 🎁 💙 😎 🐟 🍰 🌙 🌵 🚌 ⛵ ⚽ 🐸 🍌 ❄️ 🍄 🚂 🎸
🔑 💚 😭 🦊 🍦 🔥 🌷 🚁 ⛄ 👑 🐧 🍉 ⚡ 🍁 🚢 🎂 💜 😡 🐻 🍩 🌊 🌸 🚜 ⛺ 💎 🦁 🍇 🌋 🌴 🚕 🎄 💛 😍 🐘 ☕ 🌍 🌲 🚑 ⛪ 📕 🦋 🍋 💧 🌱 🚒 💡 🖤 😴 🐢 🍊
🪐 🌼 🏍️ 🌉 ⌚ 🐝 🍒 ☄️ 🌺 🚚 ⏰ 🧡 🤔 🦄 🥕 🌟 🍂 🚓 🗼 🎩 🐯 🍪 🌧️ 💐 🛸 🎃 🤍 😱 🐷 🥑 🏔️ 🌿 🚤 🏝️ 👟 🐵 🍞 ☃️ 🪴 🚆 🎮 💕 🥳 🦉 🍫 🌪️ 🪷 🛴 🎡 🎒 🐮 🍺 🌕
🌾 🏎️ ⛲ 👗 💖 😢 🐔 🌽 ✨ 🥀 🚇 🏥 📱 🤎 😊 🐙 🍟 🌠 🚙 🏫 💻 🐳 🍅 🌞 🛵 🏭 📺 👻 🐨 🥚 🔔 🤖 🐍 🍷 🎵 👽 🐴 🍭 🔨 💀 🦖 🥐 ✂️ 🤡 🐭 🧀 ✏️ 👶 🐞 🍍 🕯️ 🧙 🦀 🍑 🪑
👸 🦆 🥦 🚪 🧑‍🚀 🐬 🍜 🛏️ 🎅 🐑 🍣 🏆 👮 🐎 🥝 🎹 🧜 🐇 🍆 🥁 🧚 🐈 🍗 🎻 🥷 🐕 🌶️ ⚓ 💩 🐦 🧁 🔒 👀 🐌 🍿 💰 👍 🕷️ 🥞 💣 👋 🦇 🌭 💍 🙏 🦈 🍯 👓 💪 🦒 🥔 👕 🦓 🍐 🧦
🦅 🥥 🧣 🦚 🧊 👜 🦜 🍵 👠 🦩 🥤 ☎️ 🦌 🍚 🔍 🐊 🍳 🎧 🦕 🥨 🖼️ 🐹 🧅 🪁 🐺 🌰 🏀 🐐 🥜 🎾 🐓 🍬 🏈 🐜 🥛 🎨 🐄 🍮 🎲 🦔 🧸 🪞 🐒 ♻️ ⚠️ ❓ ✅ ❌ 🎉 🤣 🐾 🍙 🧢 🎤 🔴 🔵 🟢 🟡 ⬛ ⬜ ➡️ ⬆️`

/**
 * The `n` concepts that people name most: a list of 320 made by hand, and behind it the others with the most keywords first.
 * Fewer than `n` where `concepts` has fewer.
 */
export function commonConcepts(concepts: readonly Concept[], n: number): Concept[] {
  const byId = new Map(concepts.map((concept) => [concept.id, concept]))
  const listed = new Set(common.trim().split(/\s+/).map(idOf))
  const first = [...listed].map((id) => byId.get(id)).filter((concept) => concept !== undefined)
  const richness = ({ keywords, names }: Concept) => keywords.en.length + keywords.zh.length + names.en.length
  const others = concepts.filter(({ id }) => !listed.has(id)).sort((a, b) => richness(b) - richness(a))
  return [...first, ...others].slice(0, n)
}
