/** How CLIP cuts text into words and spells each word in bytes; what encoding and learning have in common. */

/** Marks a token that ends a word. */
export const endOfWord = "</w>"

// English endings, a run of letters, one digit, a run of anything else. `\s` of the reference is Unicode White_Space,
// which JavaScript's `\s` is not: it adds U+FEFF and lacks U+0085. What a letter is depends on the Unicode version: the
// engine's here, 16 in tokenizers 0.23. Under Node with Unicode 17 just the 4,642 letters that 17 added are read otherwise.
const wordPattern = /'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\p{White_Space}\p{L}\p{N}]+/gu

// The reference cuts these two out even where they are not special tokens, as "<|EndOfText|>" may not be, and only then
// into words; it shows in the punctuation that follows them.
const wordOrMarkPattern = new RegExp(`<\\|startoftext\\|>|<\\|endoftext\\|>|${wordPattern.source}`, "gu")

/** Text as CLIP sees it: composed (NFC), every run of white space one space, lower case. */
export function normaliseText(text: string): string {
  // The reference lowers each character alone, where JavaScript gives a sigma that ends a word another form. Its NFC is
  // that of Unicode 9: the marks added since, some 165 of rare scripts, keep their place there among other marks.
  return text
    .normalize("NFC")
    .replace(/\p{White_Space}+/gu, " ")
    .replaceAll("Σ", "σ")
    .toLowerCase()
}

/** The words of normalised text; no pair is ever merged across two of them. */
export function splitWords(normalised: string): string[] {
  const parts = normalised.match(wordOrMarkPattern) ?? []
  return parts.flatMap((part) => (part.startsWith("<|") ? part.match(wordPattern)! : part))
}

/** The printable bytes, which stand for themselves in a vocabulary. */
function isPrintable(byte: number): boolean {
  return (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae
}

/** The 256 bytes in the order in which they open a vocabulary: the printable ones, then the others. */
export const byteOrder: readonly number[] = [...Array(256).keys()].sort(
  (a, b) => Number(isPrintable(b)) - Number(isPrintable(a)) || a - b,
)

/** The character that stands for each byte: itself if printable, else one counted up from U+0100 (GPT-2's table). */
export const byteCharacters: readonly string[] = byteOrder
  .map((byte, place) => ({ byte, code: isPrintable(byte) ? byte : 0x100 + place - 188 }))
  .sort((a, b) => a.byte - b.byte)
  .map(({ code }) => String.fromCharCode(code))

/** The tokens that open every vocabulary: each byte, then each byte that ends a word. */
export const byteTokens: readonly string[] = ["", endOfWord].flatMap((end) =>
  byteOrder.map((byte) => byteCharacters[byte] + end),
)

/** The tokens that close every vocabulary: the beginning and the end of a text. */
export const marks: readonly string[] = ["<|startoftext|>", "<|endoftext|>"]

const utf8 = new TextEncoder()

/** A word as the tokens it starts from, one for each byte of its UTF-8, the last one marked as the end of the word. */
export function spellWord(word: string): string[] {
  const symbols = Array.from(utf8.encode(word), (byte) => byteCharacters[byte])
  symbols[symbols.length - 1] += endOfWord
  return symbols
}
