import type { Scorer } from "../src/evaluation/match-score.ts"
import { matchScores } from "../src/evaluation/match-score.ts"
import type { Pixels } from "../src/ground/image.ts"
import type { Tensor } from "../src/ground/tensor.ts"
import { joinRows, rowsOf } from "../src/pipelines/rows.ts"
import type { Concept, Language } from "./concepts.ts"
import type { Gallery, Judge } from "./nearest.ts"
import { nearestOthers } from "./nearest.ts"
import type { Order } from "./prompts.ts"
import { templates } from "./prompts.ts"
import { chance, type Recall, recall } from "./recall.ts"

/** One picture of the measure, and what it should show. */
export interface Case extends Order {
  readonly language: Language
  readonly concept: Concept
}

/** Every concept by every template and seed, in both languages. */
export function casesOf(concepts: readonly Concept[], seeds: readonly number[]): Case[] {
  return (["en", "zh"] as const).flatMap((language) =>
    concepts.flatMap((concept) =>
      templates[language].flatMap((template) =>
        seeds.map((seed) => ({ language, concept, prompt: template(concept), seed })),
      ),
    ),
  )
}

/** What tells which drawing is nearest: the scorer's image embeddings, or the pixels. */
export type JudgeName = "embedding" | "pixels"

/** How often the pictures of one language show what was asked for. */
export interface LanguageReport {
  readonly pictures: number
  /** By each judge, and what the same pictures reach with their prompts shuffled. */
  readonly recall: Readonly<Record<JudgeName, Recall & { readonly chance: Recall }>>
  /** Mean cosine of a picture and its prompt, and of a picture and any of the prompts. */
  readonly matchScore: number
  readonly shuffledMatchScore: number
}

/** What was measured. */
export interface Report {
  readonly languages: Readonly<Record<Language, LanguageReport>>
  /** How often the drawing nearest to a real drawing of these concepts, itself left out, is of the same concept. */
  readonly drawings: Readonly<Record<JudgeName, Recall>>
  /** Each concept, and how many of its pictures are right by the scorer; the best first. */
  readonly concepts: readonly (Pick<Concept, "id" | "emoji" | "en" | "zh"> & Record<"right" | "of", number>)[]
}

const nearestCount = 5

/** Compares pictures with the drawings, and with their prompts. */
export async function measure(
  cases: readonly Case[],
  pictures: readonly Pixels[],
  {
    gallery,
    judges,
    scorer,
  }: { gallery: Gallery; judges: Readonly<Record<JudgeName, Judge>>; scorer: Scorer },
): Promise<Report> {
  const conceptsAt = (found: readonly (readonly number[])[]) =>
    found.map((near) => near.map((place) => gallery.concepts[place]))
  const found = {
    embedding: conceptsAt(await judges.embedding.nearest(pictures, nearestCount)),
    pixels: conceptsAt(await judges.pixels.nearest(pictures, nearestCount)),
  }
  const images = await scorer.imageEmbeddings(pictures)
  const texts = await scorer.textEmbeddings(cases.map(({ prompt }) => prompt))

  const inLanguage = (language: Language): LanguageReport => {
    const own = [...cases.keys()].filter((i) => cases[i].language === language)
    const wanted = own.map((i) => cases[i].concept.id)
    const by = (name: JudgeName) => {
      const concepts = own.map((i) => found[name][i])
      return { ...recall(wanted, concepts), chance: chance(wanted, concepts) }
    }
    const [ownImages, ownTexts] = [images, texts].map((t) => joinRows(own.map((i) => rowsOf(t, i, i + 1))))
    return {
      pictures: own.length,
      recall: { embedding: by("embedding"), pixels: by("pixels") },
      matchScore: mean(matchScores(ownImages, ownTexts)),
      shuffledMatchScore: dot(meanRow(ownImages), meanRow(ownTexts)),
    }
  }

  const asked = new Map(cases.map(({ concept }) => [concept.id, concept]))
  const places = [...gallery.concepts.keys()].filter((place) => asked.has(gallery.concepts[place]))
  const others = async (judge: Judge) =>
    recall(
      places.map((place) => gallery.concepts[place]),
      conceptsAt(await nearestOthers(gallery, judge, places, nearestCount)),
    )
  const concepts = [...asked.values()].map(({ id, emoji, en, zh }) => {
    const own = [...cases.keys()].filter((i) => cases[i].concept.id === id)
    const right = own.filter((i) => found.embedding[i][0] === id).length
    return { id, emoji, en, zh, right, of: own.length }
  })
  return {
    languages: { en: inLanguage("en"), zh: inLanguage("zh") },
    drawings: { embedding: await others(judges.embedding), pixels: await others(judges.pixels) },
    concepts: concepts.sort((a, b) => b.right - a.right),
  }
}

function mean(values: ArrayLike<number>): number {
  return Array.from(values).reduce((sum, value) => sum + value, 0) / values.length
}

/** The mean of the rows of [n, P]. */
function meanRow({ shape: [count, width], data }: Tensor<"float32">): number[] {
  return Array.from({ length: width }, (_, k) => {
    let sum = 0
    for (let n = 0; n < count; n++) sum += data[n * width + k]
    return sum / count
  })
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, k) => sum + value * b[k], 0)
}
