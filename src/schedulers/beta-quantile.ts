/**
 * The point below which a share `p` in [0, 1] of the symmetric Beta(a, a) distribution lies, a > 0.
 * (`scipy.stats.beta.ppf(p, a, a)`)
 */
export function betaQuantile(p: number, a: number): number {
  if (p > 0.5) return 1 - betaQuantile(1 - p, a)
  if (p <= 0) return 0
  const area = p * 2 * areaBelow(0.5, a)
  // Newton in log x, in which the lower tail, x^a / a, is a straight line.
  let x = Math.min(0.5, (area * a) ** (1 / a))
  for (let i = 0; i < 20; i++) {
    const below = areaBelow(x, a)
    const slope = x ** a * (1 - x) ** (a - 1)
    const next = Math.min(0.5, x * Math.exp((below / slope) * Math.log(area / below)))
    if (Math.abs(next - x) <= Number.EPSILON * x) return next
    x = next
  }
  return x
}

/** The integral of t^(a-1) (1-t)^(a-1) from 0 to x, for x up to 1/2, by the binomial series. */
function areaBelow(x: number, a: number): number {
  let coefficient = 1
  let sum = 0
  for (let n = 0; ; n++) {
    const term = coefficient / (a + n)
    sum += term
    if (Math.abs(term) < Number.EPSILON * sum * 0.01) return x ** a * sum
    coefficient *= ((n + 1 - a) / (n + 1)) * x
  }
}
