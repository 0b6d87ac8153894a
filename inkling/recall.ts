/** How often what was asked for is found, 0 to 1. */
export interface Recall {
  /** Among the first thing found. */
  readonly top1: number
  /** Among the first five. */
  readonly top5: number
}

/** How often the concept wanted from each picture is that of the drawings found for it, nearest first. */
export function recall(wanted: readonly string[], found: readonly (readonly string[])[]): Recall {
  const share = (most: number) =>
    found.filter((concepts, i) => concepts.slice(0, most).includes(wanted[i])).length / found.length
  return { top1: share(1), top5: share(5) }
}

/**
 * What `recall` comes to when the same pictures belong to the same prompts in random order: its mean over all orders,
 * which is the mean over all pairs of a picture and a prompt.
 */
export function chance(wanted: readonly string[], found: readonly (readonly string[])[]): Recall {
  const counts = new Map<string, number>()
  for (const concept of wanted) counts.set(concept, (counts.get(concept) ?? 0) + 1)
  const share = (most: number) => {
    let hits = 0
    for (const concepts of found)
      for (const concept of new Set(concepts.slice(0, most))) hits += counts.get(concept) ?? 0
    return hits / (found.length * wanted.length)
  }
  return { top1: share(1), top5: share(5) }
}
