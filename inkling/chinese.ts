import { readFileSync } from "node:fs"

/** Measure words by the end of a name. Lines of measures.txt: a measure word, then endings of the names that it counts. */
const measures = new Map<string, string[]>()
for (const line of readFileSync(new URL("measures.txt", import.meta.url), "utf8")
  .trim()
  .split("\n")) {
  const [measure, ...endings] = line.split(" ")
  for (const ending of endings) measures.set(ending, [...(measures.get(ending) ?? []), measure])
}

/**
 * The measure words that count a thing, told from the longest ending known: 只 for 黑猫, 颗 for 红心, 朵 or 支 for 玫瑰, 个 for
 * what has none of its own.
 */
export function measuresOf(name: string): readonly string[] {
  for (let start = 0; start < name.length; start++) {
    const found = measures.get(name.slice(start))
    if (found) return found
  }
  return ["个"]
}

const digits = ["零", "一", "两", "三", "四", "五"]

/** A number from 1 to 5 as it stands before a measure word: 两 for 2. */
export function numeral(count: number): string {
  return digits[count]
}

/** Whether a name counts itself already (两颗心, 一杯牛奶), so that no number can stand before it. */
export function isCounted(name: string): boolean {
  return /^[一两多几]|^100|双(?:眼|手|人)/.test(name)
}

/**
 * A name as a noun. Unicode names most faces, and some people, in Chinese by what they say or do (嘿嘿, 冲浪): the face or
 * the person is added where the name lacks it.
 */
export function asNoun(name: string, english: string): string {
  if (/\bface\b/.test(english) && !/(脸|头|太阳|月|月亮|鬼|恶魔|猫|小狗|小兔子|小丑|天使)$/.test(name))
    return `${name}表情`
  if (/^(person|people) /.test(english) && !/(人|者|家|员|选手|母亲)$/.test(name)) return `${name}的人`
  return name
}

const paintedName = /^[红橙黄绿蓝紫粉棕黑白灰青](?=(?:心|花|苹果|猫|鸟|旗|辣椒|灯笼|玫瑰|云|鸽)$)/
const colourPhrase = /[浅深]?(?:红|橙|黄|绿|蓝|紫|粉红|粉|棕|褐|黑|白|灰|青)色的?/g

/** A name without the colour it says, or undefined where the colour cannot be taken out (红酒, 红绿灯). */
export function withoutColour(name: string): string | undefined {
  const rest = name.replace(colourPhrase, "").replace(paintedName, "")
  return rest === "" || /[红绿蓝紫粉棕褐黑白灰]/.test(rest) ? undefined : rest
}
