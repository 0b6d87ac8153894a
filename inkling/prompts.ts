import { asNoun } from "./chinese.ts"
import type { Concept, Language } from "./concepts.ts"
import { asObject } from "./english.ts"

/** One picture to draw. */
export interface Order {
  readonly prompt: string
  readonly seed: number
}

/** How the measure asks for one thing: two ways in each language, named as in its report. */
export const templates: Readonly<Record<Language, readonly ((concept: Concept) => string)[]>> = {
  en: [object, (concept) => `a sticker of ${object(concept)}`],
  zh: [noun, (concept) => `${noun(concept)}贴纸`],
}

/** "a red heart", "bread", "the sun": nothing is left to chance. */
function object({ en }: Concept): string {
  return asObject(en, en, () => 0)
}

function noun({ zh, en }: Concept): string {
  return asNoun(zh, en)
}

const plain: Readonly<Record<Language, readonly string[]>> = {
  en: [
    "a red heart",
    "a cat face",
    "a slice of pizza",
    "a smiling face with sunglasses",
    "a rocket",
    "a snowman",
  ],
  zh: ["向日葵", "一只企鹅", "彩虹", "汉堡", "蝴蝶贴纸", "大哭"],
}

/** Things painted, on a ground, counted and beside each other. */
export const composed: Readonly<Record<Language, readonly string[]>> = {
  en: [
    "a blue apple",
    "a purple fox",
    "a panda on a yellow background",
    "three stars",
    "a cat to the left of an apple",
    "a sun above a house",
  ],
  zh: ["蓝色的草莓", "绿色的心", "粉色背景上的章鱼", "两只青蛙", "苹果左边的猫", "树在狗的右边"],
}

/** The contact sheet: six plain prompts and six composed ones in each language. Seeds count up from 1. */
export const sheetOrders: readonly Order[] = [...plain.en, ...composed.en, ...plain.zh, ...composed.zh].map(
  (prompt, i) => ({ prompt, seed: i + 1 }),
)

/** The strip at the top of the README. Its seeds were chosen by eye. */
export const heroOrders: readonly Order[] = [
  { prompt: "a red heart", seed: 1 },
  { prompt: "a cat face", seed: 3 },
  { prompt: "彩虹", seed: 2 },
  { prompt: "a panda", seed: 3 },
  { prompt: "a red car", seed: 3 },
  { prompt: "一只企鹅", seed: 3 },
  { prompt: "a smiling face with sunglasses", seed: 2 },
  { prompt: "绿色的心", seed: 3 },
  { prompt: "a red apple", seed: 2 },
  { prompt: "a rose", seed: 2 },
]
