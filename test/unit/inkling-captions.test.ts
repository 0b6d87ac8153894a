import { describe, expect, it } from "vitest"
import { captionerOf, usesOf } from "../../inkling/captioner.ts"
import { type ColourName, caption, colours, isCountable, isPaintable } from "../../inkling/captions.ts"
import { asNoun, isCounted, measuresOf, withoutColour } from "../../inkling/chinese.ts"
import { commonConcepts, type Language, loadConcepts } from "../../inkling/concepts.ts"
import { asObject, formOf, pluralOf, withIndefiniteArticle } from "../../inkling/english.ts"
import { pick, randomFrom } from "../../inkling/random.ts"
import { type Sprite, setNames } from "../../inkling/sprites.ts"
import { clipTokenizer } from "../../src/tokenizers/clip-bpe.ts"
import { learnClipBpe } from "../../src/tokenizers/learn-bpe.ts"

const concepts = loadConcepts()
const languages: readonly Language[] = ["en", "zh"]
const colourNames = Object.keys(colours) as ColourName[]
const of = (emoji: string) => concepts.find((concept) => concept.emoji.replaceAll("\ufe0f", "") === emoji)!

describe("concepts", () => {
  it("have an id, a name in each language, and neither skin tones nor keycaps nor flags of places", () => {
    expect(concepts.length).toBeGreaterThan(1400)
    expect(new Set(concepts.map(({ id }) => id)).size).toBe(concepts.length)
    expect(of("❤")).toMatchObject({ id: "u2764", en: "red heart", zh: "红心" })
    for (const { emoji, names } of concepts) {
      expect(emoji).not.toMatch(/[\u{1f3fb}-\u{1f3ff}\u20e3\u{1f1e6}-\u{1f1ff}]/u)
      for (const name of names.en) expect(name, emoji).toMatch(/^[\w'!.,"éñ -]+$/)
      for (const name of names.zh) expect(name, emoji).toMatch(/^[\p{Script=Han}\w“”! ]+$/u)
    }
  })

  it("are listed with the common ones first, each once", () => {
    const all = commonConcepts(concepts, 1e9)
    expect(new Set(all).size).toBe(concepts.length)
    expect(commonConcepts(concepts, 5).map(({ en }) => en)).toEqual([
      "red heart",
      "grinning face",
      "cat face",
      "red apple",
      "star",
    ])
    expect(commonConcepts(concepts, 320).map(({ emoji }) => emoji)).toContain("⬆")
    expect(commonConcepts(concepts, 100)).toEqual(all.slice(0, 100))
  })
})

describe("English", () => {
  it.each(
    `a cat; an apple; an hourglass; a unicorn; a UFO; an umbrella; an SUV; a euro banknote; a ewe; an OK hand; an x-ray; an 8 ball;
    a one-piece swimsuit; an octopus; a T-Rex; an ATM sign; a watermelon; an SOS button; a NEW button; an e-mail`.split(
      ";",
    ),
  )("says %s", (phrase) => {
    const [, name] = phrase.trim().match(/^an? (.+)$/)!
    expect(withIndefiniteArticle(name)).toBe(phrase.trim())
  })

  it.each([
    ["cat", "cats"],
    ["face with tears of joy", "faces with tears of joy"],
    ["person running", "people running"],
    ["person mountain biking", "people mountain biking"],
    ["woman dancing", "women dancing"],
    ["mouse", "mice"],
    ["wolf", "wolves"],
    ["maple leaf", "maple leaves"],
    ["fire engine", "fire engines"],
    ["strawberry", "strawberries"],
    ["turkey", "turkeys"],
    ["bus", "buses"],
    ["box", "boxes"],
    ["potato", "potatoes"],
    ["avocado", "avocados"],
    ["fish", "fish"],
    ["jack-o-lantern", "jack-o-lanterns"],
    ["computer mouse", "computer mice"],
    ["cup of coffee", "cups of coffee"],
    ["hammer and wrench", "hammers and wrenches"],
    ["bow and arrow", "bows and arrows"],
    ["red triangle pointed up", "red triangles pointed up"],
    ["right arrow curving left", "right arrows curving left"],
    ["thumbs up", "thumbs up"],
    ["no one under eighteen sign", "no one under eighteen signs"],
  ])("counts %s as %s", (one, many) => {
    expect(formOf(one)).toBe("countable")
    expect(pluralOf(one)).toBe(many)
  })

  it.each([
    ["scissors", ["scissors", "a pair of scissors"]],
    ["bread", ["bread", "some bread"]],
    ["grapes", ["grapes", "some grapes"]],
    ["Santa Claus", ["Santa Claus"]],
    ["Statue of Liberty", ["the Statue of Liberty"]],
    ["people hugging", ["people hugging", "some people hugging"]],
  ])("gives %s no article", (name, ways) => {
    const random = randomFrom(1)
    const seen = new Set(Array.from({ length: 60 }, () => asObject(name, name, random)))
    expect([...seen].sort()).toEqual([...ways].sort())
  })
})

describe("Chinese", () => {
  it.each(
    `只猫 只黑猫 条狗鱼 条蛇 头奶牛 匹马 朵向日葵 棵松树 颗红心 颗星星 颗草莓 辆汽车 架飞机 艘船 列火车 座火山 栋房子 本打开的书 把雨伞 把吉他
    件T恤 条牛仔裤 顶皇冠 支铅笔 张猫脸 部手机 台相机 杯咖啡 碗面条 块饼干 根香蕉 串葡萄 位宇航员 面彩虹旗 副眼镜 道闪电 轮满月 团火焰 扇门 个苹果
    个汉堡 个机器人 个爆炸头 个笑哭了表情`.split(/\s+/),
  )("counts 一%s", (phrase) => {
    expect(measuresOf(phrase.slice(1))[0]).toBe(phrase.slice(0, 1))
  })

  it("adds the face or the person that a name leaves out, and counts nothing twice", () => {
    expect(asNoun("笑哭了", "face with tears of joy")).toBe("笑哭了表情")
    expect(asNoun("猫脸", "cat face")).toBe("猫脸")
    expect(asNoun("冲浪", "person surfing")).toBe("冲浪的人")
    expect(["两颗心", "一杯牛奶", "双眼"].every(isCounted)).toBe(true)
    expect(["双子座符号", "双峰骆驼", "猫"].some(isCounted)).toBe(false)
  })

  it("takes colours out of names, or says that it cannot", () => {
    const names = ["红心", "浅蓝色的心", "青苹果", "绿色的书", "黑猫", "红酒", "红绿灯", "黄油", "青蛙"]
    const stripped = ["心", "心", "苹果", "书", "猫", undefined, undefined, "黄油", "青蛙"]
    expect(names.map(withoutColour)).toEqual(stripped)
  })
})

/** Every caption of many draws, by how often it comes. */
function draws(scene: Parameters<typeof caption>[0], language: Language, count = 2000): Map<string, number> {
  const random = randomFrom(7)
  const seen = new Map<string, number>()
  for (let i = 0; i < count; i++) {
    const text = caption(scene, language, random)
    seen.set(text, (seen.get(text) ?? 0) + 1)
  }
  return seen
}

const looksWrong = /undefined|NaN| {2}|^ | $|\ba a\b|\ba an\b|\ban an\b|\bsome a\b|的的|，，|一一|表情表情/

describe("captions", () => {
  it("are the same again from the same seed", () => {
    for (const language of languages) {
      const scene = { set: "noto", objects: [{ concept: of("🐱") }] } as const
      expect([...draws(scene, language, 50)]).toEqual([...draws(scene, language, 50)])
    }
  })

  it("name a single thing in short forms most of the time", () => {
    const heart = { set: "fluent-emoji-flat", objects: [{ concept: of("❤") }] } as const
    const share = (language: Language, forms: readonly string[]) => {
      const seen = draws(heart, language)
      return forms.reduce((sum, form) => sum + (seen.get(form) ?? 0), 0) / 2000
    }
    expect(
      share("en", ["red heart", "a red heart", "heart", "a heart", "love heart", "a love heart"]),
    ).toBeGreaterThan(0.5)
    expect(share("zh", ["红心", "一颗红心", "爱心", "一颗爱心", "红色的心", "一颗红色的心"])).toBeGreaterThan(
      0.5,
    )
    expect([...draws(heart, "en").keys()]).toEqual(
      expect.arrayContaining([
        "a sticker of a red heart",
        "red heart, flat style",
        "a flat red heart",
        "red heart sticker",
      ]),
    )
    expect([...draws(heart, "zh").keys()]).toEqual(
      expect.arrayContaining(["一张红心的贴纸", "红心，扁平风格", "一颗扁平的红心", "红心贴纸"]),
    )
  })

  it("read well for every concept, in every set, alone and on a colour", () => {
    const random = randomFrom(3)
    const wrong: string[] = []
    for (const concept of concepts)
      for (const set of setNames)
        for (const background of [undefined, pick(random, colourNames)]) {
          const scene = { set, objects: [{ concept }], background }
          const en = caption(scene, "en", random)
          const zh = caption(scene, "zh", random)
          if (looksWrong.test(en) || /[^\w'!.,:"éñ’–— -]/.test(en)) wrong.push(en)
          if (looksWrong.test(zh) || /^，|，$/.test(zh)) wrong.push(zh)
          if (background && !en.replace("gray", "grey").includes(background)) wrong.push(en)
          if (background && !zh.includes(colours[background].zh)) wrong.push(zh)
        }
    expect(wrong).toEqual([])
  })

  it("say the new colour of a painted thing, and no other", () => {
    const random = randomFrom(4)
    const words = new RegExp(`\\b(${colourNames.join("|")})\\b`, "g")
    const wrong: string[] = []
    for (const concept of concepts.filter(isPaintable))
      for (const colour of [pick(random, colourNames), pick(random, colourNames)]) {
        const scene = { set: "noto", objects: [{ concept, colour }], background: colour } as const
        const en = caption(scene, "en", random)
        const said = new Set(en.replaceAll("gray", "grey").match(words))
        if (said.size !== 1 || !said.has(colour)) wrong.push(en)
        const zh = caption(scene, "zh", random)
        const { zh: word } = colours[colour]
        if (!zh.includes(word)) wrong.push(zh)
        if (/[红绿蓝紫粉棕褐黑白灰]/.test(zh.replaceAll(word, "").replace(word[0], ""))) wrong.push(zh)
      }
    expect(wrong).toEqual([])
    expect([...draws({ objects: [{ concept: of("🍎"), colour: "blue" }] }, "zh").keys()]).toEqual(
      expect.arrayContaining(["蓝色的苹果", "蓝苹果", "一个蓝色的苹果"]),
    )
    expect(isPaintable(of("🧧"))).toBe(false)
  })

  it("count in words that agree", () => {
    const stars = { objects: [{ concept: of("⭐") }], count: 3 }
    expect([...draws(stars, "en").keys()]).toEqual(
      expect.arrayContaining(["three stars", "3 stars", "three yellow stars"]),
    )
    expect([...draws(stars, "zh").keys()]).toEqual(expect.arrayContaining(["三颗星星", "3颗星星"]))
    expect([...draws({ objects: [{ concept: of("🐈") }], count: 2 }, "zh").keys()]).toContain("两只猫")
    const random = randomFrom(5)
    const wrong: string[] = []
    for (const concept of concepts.filter(isCountable))
      for (const count of [2, 3, 4, 5]) {
        const en = caption({ objects: [{ concept }], count }, "en", random)
        const zh = caption({ objects: [{ concept }], count }, "zh", random)
        if (looksWrong.test(en) || !/\b([2-5]|two|three|four|five) \w/.test(en)) wrong.push(en)
        if (looksWrong.test(zh) || !/[两三四五2-5]\p{Script=Han}/u.test(zh)) wrong.push(zh)
      }
    expect(wrong).toEqual([])
  })

  it("tell which of two things is where, from either end", () => {
    const scene = { objects: [{ concept: of("🐈") }, { concept: of("🍌") }], relation: "left" } as const
    const plain = (language: Language) =>
      [...draws(scene, language).keys()].filter((text) => !/white|白色/.test(text)).sort()
    expect(plain("en")).toMatchInlineSnapshot(`
      [
        "a banana on the right and a cat on the left",
        "a cat left of a banana",
        "a cat on the left of a banana",
        "a cat on the left, a banana on the right",
        "a cat to the left of a banana",
        "cat left of banana",
        "cat on the left of banana",
        "cat to the left of banana",
      ]
    `)
    expect(plain("zh")).toMatchInlineSnapshot(`
      [
        "右侧是香蕉，左侧是猫",
        "右侧是香蕉，左边是猫",
        "右边是香蕉，左侧是猫",
        "右边是香蕉，左边是猫",
        "左侧是猫，右侧是香蕉",
        "左侧是猫，右边是香蕉",
        "左边是猫，右侧是香蕉",
        "左边是猫，右边是香蕉",
        "猫在香蕉左侧",
        "猫在香蕉左边",
        "猫在香蕉的左侧",
        "猫在香蕉的左边",
        "香蕉左侧有一只猫",
        "香蕉左侧的猫",
        "香蕉左边有一只猫",
        "香蕉左边的猫",
      ]
    `)
    const above = { ...scene, relation: "above" } as const
    expect([...draws(above, "en").keys()]).toContain("a cat above a banana")
    expect([...draws(above, "zh").keys()]).toContain("香蕉上面的猫")
    expect([...draws({ ...scene, relation: "below" }, "zh").keys()]).toContain("上面是香蕉，下面是猫")
  })

  it("are few tokens of a vocabulary learned from them", () => {
    const random = randomFrom(6)
    const texts = Array.from({ length: 4000 }, (_, i) => {
      const background = i % 5 === 0 ? pick(random, colourNames) : undefined
      const scene = {
        set: pick(random, setNames),
        objects: [{ concept: pick(random, concepts) }],
        background,
      }
      return caption(scene, pick(random, languages), random)
    })
    const tokenizer = clipTokenizer(learnClipBpe(texts, { vocabSize: 3000 }))
    const lengths = texts.map((text) => tokenizer.encode(text).length).sort((a, b) => a - b)
    expect(lengths[lengths.length >> 1]).toBeLessThanOrEqual(5)
    expect(lengths.at(-1)).toBeLessThan(62)
    for (const text of ["红心", "红苹果", "一只猫", "a red heart"])
      expect(tokenizer.encode(text).length, text).toBeLessThanOrEqual(3)
    expect(tokenizer.encode("红心，黄色背景").length).toBeLessThanOrEqual(5)
  })
})

describe("sketches", () => {
  const sprite = (concept: string, set: Sprite["set"]) => ({ concept, set }) as Sprite
  const captioner = captionerOf(concepts)
  const seen = (sketch: Parameters<typeof captioner>[0]) => {
    const random = randomFrom(8)
    return new Set(Array.from({ length: 500 }, () => captioner(sketch, random).en))
  }

  it("are captioned by what they draw", () => {
    const heart = sprite("u2764", "noto")
    expect(seen({ kind: "plain", sprite: heart })).toContain("a red heart")
    expect(seen({ kind: "background", sprite: heart, background: "blue" })).toContain(
      "a red heart, blue background",
    )
    expect(seen({ kind: "recoloured", sprite: heart, colour: "green" })).toContain("a green heart")
    expect(seen({ kind: "counted", sprite: heart, count: 4 })).toContain("four red hearts")
    const pair = seen({ kind: "related", sprite: heart, other: sprite("u1f34c", "twemoji"), side: "below" })
    expect(pair).toContain("a red heart below a banana")
    expect([...pair].join()).not.toMatch(/style|noto|twemoji/)
  })

  it("know what may be painted and counted", () => {
    const use = usesOf(concepts, 320)
    expect(use("u2764")).toEqual({ common: true, paintable: true, countable: true })
    expect(use(of("🍞").id).countable).toBe(false)
    expect(use(of("🧧").id).paintable).toBe(false)
  })
})
