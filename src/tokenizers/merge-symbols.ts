import { heapPop, heapPush } from "./heap.ts"

/** What two neighbours become, and how early: the lower rank first. */
export interface Merge<S> {
  readonly symbol: S
  readonly rank: number
}

/**
 * Joins the pair of lowest rank, the leftmost of equals, until no pair is left (Sennrich et al. 2016). The pairs wait
 * in a heap, so n symbols take n log n steps.
 *
 * `mergeOf(left, right)` is the merge of two neighbours, if they have one; the same object for the same pair.
 */
export function mergeSymbols<S>(
  symbols: readonly S[],
  mergeOf: (left: S, right: S) => Merge<S> | undefined,
): S[] {
  const end = symbols.length
  const now = [...symbols]
  const next = now.map((_, place) => place + 1)
  const previous = now.map((_, place) => place - 1)
  const gone = new Uint8Array(end)
  const waiting: Candidate<S>[] = []
  const mergeAt = (left: number) => (next[left] < end ? mergeOf(now[left], now[next[left]]) : undefined)
  const consider = (left: number) => {
    const merge = left < 0 ? undefined : mergeAt(left)
    if (merge !== undefined) heapPush(waiting, { merge, place: left }, isEarlier)
  }
  for (let place = 0; place < end; place++) consider(place)
  for (let best = heapPop(waiting, isEarlier); best; best = heapPop(waiting, isEarlier)) {
    const left = best.place
    // The pair may have been broken since it was put down, by a merge to either side.
    if (gone[left] || mergeAt(left) !== best.merge) continue
    now[left] = best.merge.symbol
    gone[next[left]] = 1
    next[left] = next[next[left]]
    if (next[left] < end) previous[next[left]] = left
    consider(previous[left])
    consider(left)
  }
  return now.filter((_, place) => !gone[place])
}

interface Candidate<S> {
  readonly merge: Merge<S>
  readonly place: number
}

function isEarlier<S>(a: Candidate<S>, b: Candidate<S>): boolean {
  return a.merge.rank < b.merge.rank || (a.merge.rank === b.merge.rank && a.place < b.place)
}
