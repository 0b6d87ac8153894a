const colours = [
  ["red", "红"],
  ["blue", "蓝"],
  ["green", "绿"],
  ["yellow", "黄"],
  ["black", "黑"],
  ["white", "白"],
] as const

const things = [
  ["apple", "苹果"],
  ["cat", "猫"],
  ["dog", "狗"],
  ["house", "房子"],
  ["star", "星星"],
  ["umbrella", "雨伞"],
  ["heart", "心"],
  ["flower", "花"],
  ["boat", "小船"],
  ["café", "咖啡馆"],
] as const

/** The 2,160 short captions, English and Chinese, that test/golden/clip-tokenizer-learned was learned from. */
export function captions(): string[] {
  return colours.flatMap(([colour, 色]) =>
    things.flatMap(([thing, 物], index) => {
      const [other, 他] = things[(index + 3) % things.length]
      return [
        `a ${colour} ${thing}`,
        `${色}${物}`,
        `A sticker of the ${colour} ${thing}, it's flat!`,
        `一张${色}色${物}的贴纸`,
        `a ${thing} left of a ${colour} ${other}`,
        `${色}色${他}左边的${物}`,
        ...Array.from({ length: 15 }, (_, n) => `${n + 1} ${colour} ${thing}s`),
        ...Array.from({ length: 15 }, (_, n) => `${n + 1}个${色}色${物}`),
      ]
    }),
  )
}
