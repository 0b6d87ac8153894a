import { caption, isCountable, isPaintable, type Scene } from "./captions.ts"
import { type Concept, commonConcepts } from "./concepts.ts"
import type { Captioner } from "./make-dataset.ts"
import type { ConceptUse, Sketch } from "./scenes.ts"

/** Captions for sketches of these concepts. A sketch of another concept is a programming error. */
export function captionerOf(concepts: readonly Concept[]): Captioner {
  const byId = new Map(concepts.map((concept) => [concept.id, concept]))
  return (sketch, random) => {
    const scene = sceneOf(sketch, (id) => byId.get(id)!)
    return { en: caption(scene, "en", random), zh: caption(scene, "zh", random) }
  }
}

/** The scene that a sketch draws. Two things from different sets have no style in common to speak of. */
function sceneOf(sketch: Sketch, conceptOf: (id: string) => Concept): Scene {
  const { sprite, colour, count, background, other, side } = sketch
  const object = { concept: conceptOf(sprite.concept), colour }
  if (!other) return { set: sprite.set, objects: [object], count, background }
  const set = other.set === sprite.set ? sprite.set : undefined
  return { set, objects: [object, { concept: conceptOf(other.concept) }], relation: side, background }
}

/** What each concept is good for; the `common` most common ones are dealt more often. */
export function usesOf(concepts: readonly Concept[], common: number): (id: string) => ConceptUse {
  const often = new Set(commonConcepts(concepts, common))
  const uses = new Map(
    concepts.map((concept): [string, ConceptUse] => [
      concept.id,
      { common: often.has(concept), paintable: isPaintable(concept), countable: isCountable(concept) },
    ]),
  )
  return (id) => uses.get(id)!
}
