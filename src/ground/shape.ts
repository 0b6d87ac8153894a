/** Sizes of a tensor's axes, outermost first. */
export type Shape = readonly number[]

/** How many elements a shape holds. */
export function sizeOf(shape: Shape): number {
  let n = 1
  for (const d of shape) n *= d
  return n
}

/** Whether two shapes agree in every axis. */
export function sameShape(a: Shape, b: Shape): boolean {
  return a.length === b.length && a.every((d, i) => d === b[i])
}

/** `[1, 4, 64, 64]`, as error messages print shapes. */
export function formatShape(shape: Shape): string {
  return `[${shape.join(", ")}]`
}

/** Shape of `a op b` under NumPy's broadcasting, or undefined where they do not go together. */
export function broadcastShapes(a: Shape, b: Shape): number[] | undefined {
  const rank = Math.max(a.length, b.length)
  const out = new Array<number>(rank)
  for (let i = 0; i < rank; i++) {
    const da = a[a.length - rank + i] ?? 1
    const db = b[b.length - rank + i] ?? 1
    if (da !== db && da !== 1 && db !== 1) return undefined
    out[i] = da === 1 ? db : da
  }
  return out
}
