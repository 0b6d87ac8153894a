/** How an English name takes its article and its plural. */
export type Form = "countable" | "plural" | "mass" | "proper"

const massNames = new Set(
  `100, bacon, bread, broccoli, butter, camping, candy, canned food, champagne, cheese, coffee, coral, corn, curry rice, dango,
  DNA, falafel, flatbread, fog, fondue, fried shrimp, garlic, ginger root, green salad, herb, honey, horse racing, ice cream,
  leafy green, lettuce, light rail, luggage, mate, meat on bone, money with wings, nail polish, oden, pizza, popcorn, sake,
  salt, shaved ice, soap, soft ice cream, spaghetti, stuffed flatbread, sushi, toilet paper, wifi, wine, wood, ZZZ`
    .split(",")
    .map((name) => name.trim()),
)

const properNames = new Set(["Santa Claus", "Mrs. Claus", "Mx Claus", "Mount Fuji", "Tokyo Tower", "Saturn"])

/** Names of one single thing, which take "the". */
const theNames = new Set(["Statue of Liberty", "Kaaba", "milky way", "sun", "moon", "earth"])

const pairs =
  /\b(glasses|sunglasses|goggles|jeans|shorts|briefs|socks|gloves|scissors|chopsticks|skis|maracas|ballet shoes|headphones)$/

// Where a phrase after the noun begins: "face | with tears of joy", "cloud | behind a mountain", "triangle | pointed up".
const tail =
  / (?:with|without|of|in|on|behind|under|over|from|to|at|for|left|right|up|down|off|pointing|pointed|tilted|facing|curving)\b/
// Someone doing something: "person | running". Names of signs are cut nowhere: "no one under eighteen sign".
const doing =
  /^(?:person|people|man|woman|men|women|face|head|couple|monkey|airplane|clock|chart|globe|glass|leaf)(?= .*ing\b)/
const label = / (?:button|sign|hand|mode|arrow|mark|symbol)$/

/** A name cut behind its noun. */
function cutName(name: string): [noun: string, rest: string] {
  if (label.test(name)) return [name, ""]
  const end = name.match(doing)?.[0].length ?? name.match(tail)?.index ?? name.length
  return [name.slice(0, end), name.slice(end)]
}

/** How a name behaves, told from its last word and from short lists of exceptions. */
export function formOf(name: string): Form {
  if (massNames.has(name)) return "mass"
  if (properNames.has(name) || theNames.has(name)) return "proper"
  const [noun] = cutName(name)
  if (noun.includes(" and ")) return "countable"
  if (pairs.test(noun) || /\b(people|men|women)$/.test(noun)) return "plural"
  return /[^siu]s$/.test(noun) && !/^(thumbs|rhinoceros)$/.test(noun) ? "plural" : "countable"
}

const spokenWithVowel = /^(?:[aeiou]|hour|x-ray|8|18|(?:SUV|SOS|NG)\b)/i
const spokenWithConsonant = /^(?:one\b|eu|ewe\b|uni|UFO)/i

/** A noun phrase behind "a" or "an", by how its first word is spoken. */
export function withIndefiniteArticle(phrase: string): string {
  const vowel = spokenWithVowel.test(phrase) && !spokenWithConsonant.test(phrase)
  return `${vowel ? "an" : "a"} ${phrase}`
}

/**
 * A noun phrase as it stands in a sentence: "an apple", "scissors", "a pair of scissors", "some bread", "Santa Claus".
 *
 * @param name the name at the end of the phrase, which decides
 */
export function asObject(phrase: string, name: string, random: () => number): string {
  const form = formOf(name)
  if (form === "countable") return withIndefiniteArticle(phrase)
  if (form === "proper") return theNames.has(name) ? `the ${phrase}` : phrase
  if (random() < 0.6) return phrase
  return pairs.test(name) ? `a pair of ${phrase}` : `some ${phrase}`
}

/** A number from 1 to 5 as a word. */
export function numeral(count: number): string {
  return ["zero", "one", "two", "three", "four", "five"][count]
}

const irregular: Readonly<Record<string, string>> = {
  mouse: "mice",
  goose: "geese",
  sheep: "sheep",
  fish: "fish",
  blowfish: "blowfish",
  pufferfish: "pufferfish",
  jellyfish: "jellyfish",
  shrimp: "shrimp",
  squid: "squid",
  deer: "deer",
  moose: "moose",
  bison: "bison",
  ox: "oxen",
  wolf: "wolves",
  leaf: "leaves",
  loaf: "loaves",
  knife: "knives",
  scarf: "scarves",
  elf: "elves",
  foot: "feet",
  tooth: "teeth",
  child: "children",
  person: "people",
  man: "men",
  woman: "women",
  snowman: "snowmen",
  die: "dice",
  sheaf: "sheaves",
  thumbs: "thumbs",
  crossbones: "crossbones",
}
const takesOes = /(tomat|potat|mang|volcan|tornad|mosquit|superher|buffal)o$/

function pluralOfWord(word: string): string {
  const last = word.match(/[^\s-]+$/)?.[0] ?? word
  const before = word.slice(0, word.length - last.length)
  const known = irregular[last]
  if (known) return before + known
  if (/(s|x|z|ch|sh)$/.test(last) || takesOes.test(last)) return `${word}es`
  if (/[^aeiou]y$/.test(last)) return `${word.slice(0, -1)}ies`
  return `${word}s`
}

/** The plural of a countable name: "cats", "faces with tears of joy", "people running". */
export function pluralOf(name: string): string {
  const [noun, rest] = cutName(name)
  return noun.split(" and ").map(pluralOfWord).join(" and ") + rest
}

const colourWord =
  /\b(?:light |dark )?(?:red|orange|yellow|green|blue|purple|pink|brown|black|white|gr[ae]y) /g
const colourNoun = /\b(?:red|orange|green|blue|white|black)$/

/** A name without the colour it says, or undefined where the colour is the noun itself ("orange", "leafy green"). */
export function withoutColour(name: string): string | undefined {
  return colourNoun.test(name) ? undefined : name.replaceAll(colourWord, "")
}
