/*
 * The natural logarithm, sine and cosine, rounded to the nearest double. JavaScript leaves their last bits open, and its
 * engines differ from the C library, whose results are the nearest doubles but for two in a thousand. Numbers here are
 * unevaluated sums of two doubles (Dekker 1971), some 104 bits: enough to tell which double is nearest.
 */

/** high + low, where low is at most half a unit in high's last place. */
type Pair = readonly [high: number, low: number]

/** a + b exactly (Knuth). */
function twoSum(a: number, b: number): Pair {
  const sum = a + b
  const part = sum - a
  return [sum, a - (sum - part) + (b - part)]
}

/** a b exactly, by halves of 26 bits. */
function twoProduct(a: number, b: number): Pair {
  const [aHigh, aLow] = halves(a)
  const [bHigh, bLow] = halves(b)
  const product = a * b
  return [product, aHigh * bHigh - product + aHigh * bLow + aLow * bHigh + aLow * bLow]
}

function halves(a: number): Pair {
  const scaled = a * (2 ** 27 + 1)
  const high = scaled - (scaled - a)
  return [high, a - high]
}

function add([a, aLow]: Pair, [b, bLow]: Pair): Pair {
  const [sum, error] = twoSum(a, b)
  return twoSum(sum, error + (aLow + bLow))
}

function multiply([a, aLow]: Pair, [b, bLow]: Pair): Pair {
  const [product, error] = twoProduct(a, b)
  return twoSum(product, error + (a * bLow + aLow * b))
}

function divide([a, aLow]: Pair, b: number): Pair {
  const quotient = a / b
  const [product, error] = twoProduct(quotient, b)
  return twoSum(quotient, (a - product - error + aLow) / b)
}

const one: Pair = [1, 0]
const ln2: Pair = [Math.LN2, 2.3190468138462996e-17]
const halfPi: Pair = [Math.PI / 2, 6.123233995736766e-17]

/** 1 + x / a (1 + x / (a + d) (1 + ...)), as many terms as there are divisors: the inside of a power series. */
function nested(x: Pair, divisors: readonly number[]): Pair {
  return divisors.reduceRight((sum, divisor) => add(one, multiply(divide(x, divisor), sum)), one)
}

const factors = (count: number, divisor: (k: number) => number) =>
  Array.from({ length: count }, (_, k) => divisor(k + 1))
const exponentialDivisors = factors(9, (k) => k)
const sineDivisors = factors(13, (k) => 2 * k * (2 * k + 1))
const cosineDivisors = factors(13, (k) => 2 * k * (2 * k - 1))
const logarithmOrder = 6

const halvings = 8

/** e^x for |x| below 700. */
function exponential(x: number): Pair {
  const power = Math.round(x / Math.LN2)
  const rest = add([x, 0], multiply([-power, 0], ln2))
  let value = nested(divide(rest, 2 ** halvings), exponentialDivisors)
  for (let k = 0; k < halvings; k++) value = multiply(value, value)
  return [value[0] * 2 ** power, value[1] * 2 ** power]
}

/** ln x for x in (0, 1], 2^-53 and more. */
export function roundedLog(x: number): number {
  const z = x - 1
  if (Math.abs(z) < 2 ** -20) {
    // z - z^2 / 2 + z^3 / 3 - ...
    let sum: Pair = [0, 0]
    for (let k = logarithmOrder; k >= 1; k--)
      sum = multiply([z, 0], add(divide([1, 0], k), [-sum[0], -sum[1]]))
    return sum[0]
  }
  // One step of Newton's from a logarithm whose last bits are wrong: y + (x e^-y - 1).
  const y = Math.log(x)
  const [ratio, low] = multiply([x, 0], exponential(-y))
  return y + (ratio - 1 + low)
}

/** sin x and cos x for x in [0, 2 pi]. */
export function roundedSineCosine(x: number): readonly [sine: number, cosine: number] {
  const quarter = Math.round(x / halfPi[0])
  const rest = add([x, 0], multiply([-quarter, 0], halfPi))
  const square = multiply(rest, rest)
  const negative: Pair = [-square[0], -square[1]]
  const [sine] = multiply(rest, nested(negative, sineDivisors))
  const [cosine] = nested(negative, cosineDivisors)
  switch (quarter & 3) {
    case 0:
      return [sine, cosine]
    case 1:
      return [cosine, -sine]
    case 2:
      return [-sine, -cosine]
    default:
      return [-cosine, sine]
  }
}
