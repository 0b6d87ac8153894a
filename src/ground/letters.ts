/**
 * The letters of limn's own labels, for a machine's fonts differ and may be missing: printable ASCII, five pixels wide.
 * Nine digits of base 32 for each character from the space on, one for each row from the top; of a digit's five bits the
 * highest is the leftmost pixel. Capitals stand on the seventh row, and what hangs below reaches the ninth.
 */
const letters = `
  000000000 444440400 aaa000000 aavavaa00 4fke5u400 op248j300 cik8lid00 444000000
  248884200 842224800 04lel4000 044v44000 000004480 000v00000 000000400 01248g000
  ehjlphe00 4c4444e00 eh1248v00 v2421he00 26aiv2200 vgu11he00 68guhhe00 v12244400
  ehhehhe00 ehhf12c00 004004000 004004480 248g84200 00v0v0000 842124800 eh1240400
  eh1dlle00 ehhvhhh00 uhhuhhu00 ehggghe00 sihhhis00 vgguggv00 vgguggg00 ehgnhhf00
  hhhvhhh00 e44444e00 72222ic00 hikokih00 ggggggv00 hrllhhh00 hhpljhh00 ehhhhhe00
  uhhuggg00 ehhhlid00 uhhukih00 fgge11u00 v44444400 hhhhhhe00 hhhhha400 hhhllla00
  hha4ahh00 hhha44400 v1248gv00 e88888e00 0g8421000 e22222e00 4ah000000 0000000v0
  842000000 00e1fhf00 ggmphhu00 00egghe00 11djhhf00 00ehvge00 698s88800 00fhhhf1e
  ggmphhh00 40c444e00 2062222ic ggikoki00 c44444e00 00qllhh00 00mphhh00 00ehhhe00
  00uhhhugg 00fhhhf11 00mpggg00 00ege1u00 88s889600 00hhhjd00 00hhha400 00hhlla00
  00ha4ah00 00hhhhf1e 00v248v00 244844200 444444440 844244800 008l20000
`

/** In pixels. */
export const letterSize = { width: 5, height: 9 } as const

const rowsOfLetters = letters
  .trim()
  .split(/\s+/)
  .map((digits) => Array.from(digits, (digit) => Number.parseInt(digit, 32)))

/**
 * The rows of a character from the top, each of five bits with the leftmost pixel in the highest; undefined for what is
 * no printable ASCII.
 */
export function letterRows(character: string): readonly number[] | undefined {
  return character.length === 1 ? rowsOfLetters[character.charCodeAt(0) - 32] : undefined
}
