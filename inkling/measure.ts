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

/** What tells which drawing is nearest: the pixels, or the scorer's image embeddings. */
export type JudgeName = "pixels" | "embedding"
export type ByJudge<T> = Readonly<Record<JudgeName, T>>

/** How often the pictures of one language show what was asked for. */
export interface LanguageReport {
  readonly pictures: number
  /** By each judge, and what the same pictures reach with their prompts shuffled. */
  readonly recall: ByJudge<Recall & { readonly chance: Recall }>
  /** Mean cosine of a picture and its prompt, and of a picture and any of the prompts. */
  readonly matchScore: number
  readonly shuffledMatchScore: number
}

/** What was measured. */
export interface Report {
  readonly languages: Readonly<Record<Language, LanguageReport>>
  /** What plain training pictures of the concepts reach, moved and scaled as they are: a model could do no better. */
  readonly training: ByJudge<Recall> & { readonly pictures: number }
  /** What the drawings of the concepts reach, each without itself: how far the sets agree on what a thing looks like. */
  readonly drawings: ByJudge<Recall> & { readonly pictures: number }
  /** Each concept, and how many of its pictures are right by their pixels; the best first. */
  readonly concepts: readonly (Pick<Concept, "id" | "emoji" | "en" | "zh"> & Record<"right" | "of", number>)[]
}

/** What pictures are compared with. */
export interface Yardsticks {
  /** Every drawing once. */
  readonly gallery: Gallery
  /** Plain training pictures of the concepts. */
  readonly training: Gallery
  readonly judges: ByJudge<Judge>
  readonly scorer: Scorer
}

const nearestCount = 5

/** Compares pictures with the drawings, and with their prompts. */
export async function measure(
  cases: readonly Case[],
  pictures: readonly Pixels[],
  { gallery, training, judges, scorer }: Yardsticks,
): Promise<Report> {
  const conceptsAt = (found: readonly (readonly number[])[]) =>
    found.map((near) => near.map((place) => gallery.concepts[place]))
  const byJudge = async <T>(ask: (judge: Judge) => Promise<T>): Promise<ByJudge<T>> => ({
    pixels: await ask(judges.pixels),
    embedding: await ask(judges.embedding),
  })
  const findingsOf = (shown: readonly Pixels[]) =>
    byJudge(async (judge) => conceptsAt(await judge.nearest(shown, nearestCount)))

  const found = await findingsOf(pictures)
  const images = await scorer.imageEmbeddings(pictures)
  const texts = await scorer.textEmbeddings(cases.map(({ prompt }) => prompt))
  const inLanguage = (language: Language): LanguageReport => {
    const own = [...cases.keys()].filter((i) => cases[i].language === language)
    const wanted = own.map((i) => cases[i].concept.id)
    const by = (judge: JudgeName) => {
      const concepts = own.map((i) => found[judge][i])
      return { ...recall(wanted, concepts), chance: chance(wanted, concepts) }
    }
    const [ownImages, ownTexts] = [images, texts].map((t) => joinRows(own.map((i) => rowsOf(t, i, i + 1))))
    return {
      pictures: own.length,
      recall: { pixels: by("pixels"), embedding: by("embedding") },
      matchScore: mean(matchScores(ownImages, ownTexts)),
      shuffledMatchScore: dot(meanRow(ownImages), meanRow(ownTexts)),
    }
  }

  const trained = await findingsOf(training.pictures)
  const asked = new Map(cases.map(({ concept }) => [concept.id, concept]))
  const places = [...gallery.concepts.keys()].filter((place) => asked.has(gallery.concepts[place]))
  const real = places.map((place) => gallery.concepts[place])
  const others = await byJudge(async (judge) =>
    conceptsAt(await nearestOthers(gallery, judge, places, nearestCount)),
  )
  const concepts = [...asked.values()].map(({ id, emoji, en, zh }) => {
    const own = [...cases.keys()].filter((i) => cases[i].concept.id === id)
    const right = own.filter((i) => found.pixels[i][0] === id).length
    return { id, emoji, en, zh, right, of: own.length }
  })
  const recallOf = (wanted: readonly string[], by: ByJudge<readonly (readonly string[])[]>) => ({
    pictures: wanted.length,
    pixels: recall(wanted, by.pixels),
    embedding: recall(wanted, by.embedding),
  })
  return {
    languages: { en: inLanguage("en"), zh: inLanguage("zh") },
    training: recallOf(training.concepts, trained),
    drawings: recallOf(real, others),
    concepts: concepts.sort((a, b) => b.right - a.right),
  }
}

/** The mean of some numbers. */
export function mean(values: ArrayLike<number>): number {
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
