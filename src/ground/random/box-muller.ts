import { roundedLog, roundedSineCosine } from "./rounded-functions.ts"

/*
 * Box and Muller (1958), the way PyTorch's CPU kernels lay it out: 16 uniform numbers in, 16 normal ones out, the
 * pair (u1, u2) eight places apart.
 *
 *   r = sqrt(-2 ln(1 - u1))    d[j] = r cos(2 pi u2) + 0    d[j + 8] = r sin(2 pi u2) + 0
 *
 * (The zero is the mean; adding it makes +0 of -0.)
 *
 * The float32 block repeats PyTorch's AVX2 kernel operation by operation (the Cephes library's single-precision
 * logarithm and sine with fused multiply-adds), since any other logarithm changes the last bits of four normals
 * in ten.
 */

const fround = Math.fround

/** How many numbers one block holds. */
export const blockSize = 16
const half = blockSize / 2

/**
 * Turns `d[at .. at + 16)`, uniform in [0, 1), into normal numbers, in double arithmetic. Where the C library's
 * logarithm, sine or cosine is not the nearest double, about twice in a thousand, the last bit differs from PyTorch's.
 */
export function boxMullerBlock64(d: Float64Array, at: number): void {
  for (let j = at; j < at + half; j++) {
    const r = Math.sqrt(-2 * roundedLog(1 - d[j]))
    const [sine, cosine] = roundedSineCosine(2 * Math.PI * d[j + half])
    d[j] = r * cosine + 0
    d[j + half] = r * sine + 0
  }
}

const twoPi = fround(2 * Math.PI)

/** Turns `d[at .. at + 16)`, uniform multiples of 2^-24 in [0, 1), into normal numbers, bit for bit PyTorch's. */
export function boxMullerBlock32(d: Float32Array, at: number): void {
  for (let j = at; j < at + half; j++) {
    const r = fround(Math.sqrt(fround(-2 * log32(fround(1 - d[j])))))
    const theta = fround(twoPi * d[j + half])
    // theta = q pi/4 + rest with q even; the two lowest bits of q/2 are the quadrant.
    const q = (Math.trunc(fround(theta * fourOverPi)) + 1) & ~1
    const rest = fma(q, -piOver4[2], fma(q, -piOver4[1], fma(q, -piOver4[0], theta)))
    const square = fround(rest * rest)
    const s = sinNear0(rest, square)
    const c = cosNear0(square)
    const swap = q & 2
    const cosine = swap ? s : c
    const sine = swap ? c : s
    d[j] = r * (~(q - 2) & 4 ? -cosine : cosine) + 0
    d[j + half] = r * (q & 4 ? -sine : sine) + 0
  }
}

/**
 * a b + c rounded once. The product of two float32 is exact in double, so only the sum rounds twice, and that
 * shows once in some 2^29 operations.
 */
function fma(a: number, b: number, c: number): number {
  return fround(a * b + c)
}

const floatView = new Float32Array(1)
const bitsView = new Int32Array(floatView.buffer)

const logPolynomial = floats(
  7.0376836292e-2,
  -1.151461031e-1,
  1.167699874e-1,
  -1.2420140846e-1,
  1.4249322787e-1,
  -1.6668057665e-1,
  2.0000714765e-1,
  -2.4999993993e-1,
  3.3333331174e-1,
)
const [sqrtHalf, ln2High, ln2Low] = floats(Math.SQRT1_2, 0.693359375, -2.1219444e-4)

/** ln x for x in (0, 1]: x = 2^e (1 + m) with 1 + m in [sqrt 1/2, sqrt 2), and a polynomial in m. */
function log32(x: number): number {
  floatView[0] = x
  let e = (bitsView[0] >>> 23) - 126
  bitsView[0] = (bitsView[0] & 0x7fffff) | 0x3f000000
  const mantissa = floatView[0]
  let m = fround(mantissa - 1)
  if (mantissa < sqrtHalf) {
    e -= 1
    m = fround(m + mantissa)
  }
  const z = fround(m * m)
  let y = logPolynomial[0]
  for (let i = 1; i < logPolynomial.length; i++) y = fma(y, m, logPolynomial[i])
  y = fma(fround(y * m), z, fround(e * ln2Low))
  y = fma(-z, 0.5, y)
  return fma(e, ln2High, fround(m + y))
}

// pi/4 in three parts, each short enough that q times it is exact.
const piOver4 = floats(0.78515625, 2.4187564849853516e-4, 3.774894977445941e-8)
const [fourOverPi] = floats(1.27323954473516)
const cosPolynomial = floats(2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2)
const sinPolynomial = floats(-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1)

/** cos x for |x| <= pi/4, from z = x^2. */
function cosNear0(z: number): number {
  const c = fround(fma(fma(cosPolynomial[0], z, cosPolynomial[1]), z, cosPolynomial[2]) * z)
  return fround(fma(c, z, -fround(z * 0.5)) + 1)
}

/** sin x for |x| <= pi/4, given z = x^2. */
function sinNear0(x: number, z: number): number {
  const s = fround(fma(fma(sinPolynomial[0], z, sinPolynomial[1]), z, sinPolynomial[2]) * z)
  return fma(s, x, x)
}

function floats(...values: number[]): number[] {
  return values.map(fround)
}
