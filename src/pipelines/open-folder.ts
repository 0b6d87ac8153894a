import { absolutePath } from "#platform"
import { renameAutoencoderKey, renameChatGlmKey } from "../models/names.ts"
import { isChatGlmHead } from "../models/parameters/chatglm.ts"
import { openComponent } from "./component.ts"
import { readDefaults } from "./defaults.ts"
import type { Family } from "./family.ts"
import { readModelIndex } from "./family.ts"
import { lastPart, readJson } from "./files.ts"
import type { ModelParts } from "./model.ts"
import { findSafetyChecker } from "./safety-checker.ts"
import type { TextParts } from "./text-encoder.ts"
import { openChatGlmTokenizer, openTokenizer } from "./tokenizer.ts"
import { isTurboFolder, withTurbo } from "./turbo.ts"

/** How a folder is read. */
export interface FolderOptions {
  /** Wanted among several copies of the weights. */
  readonly variant?: string
  /** The model's name where that is not the folder's. */
  readonly name?: string
  /** Whether its safety checker is wanted, where it has one (default: true). */
  readonly safetyChecker?: boolean
}

/**
 * The parts of a model from its folder in diffusers' layout.
 * Throws a LimnError where a file is missing or the model is of no family that limn runs, a FormatError where a file is
 * not what it claims to be.
 */
export async function openFolder(
  folder: string,
  { variant, name = lastPart(folder), safetyChecker = true }: FolderOptions = {},
): Promise<ModelParts> {
  const { family, json: index, zeroNegative, checksSafety } = await readModelIndex(folder)
  const part = (name: string) => absolutePath(folder, name)
  const [texts, unet, vae, schedulerConfig, checker] = await Promise.all([
    Promise.all(family.textEncoders.map((one) => openText(folder, one, variant))),
    openComponent(part("unet"), { variant }),
    openComponent(part("vae"), { variant, rename: renameAutoencoderKey }),
    readJson(absolutePath(folder, "scheduler", "scheduler_config.json")),
    safetyChecker && checksSafety ? findSafetyChecker(folder, variant) : undefined,
  ])
  const facts = { family, name, index, unet: unet.config, scheduler: schedulerConfig }
  const defaults = await readDefaults(folder, withTurbo(family.defaults, isTurboFolder(facts)))
  const parts = { texts, unet, vae, safetyChecker: checker }
  return { path: folder, family, ...parts, schedulerConfig, defaults, zeroNegative }
}

async function openText(
  folder: string,
  { kind, name, tokenizer }: Family["textEncoders"][number],
  variant: string | undefined,
): Promise<TextParts> {
  const path = absolutePath(folder, name)
  if (kind === "clip") {
    const files = await openComponent(path, { variant })
    return { kind, files, tokenizer: await openTokenizer(absolutePath(folder, tokenizer)) }
  }
  const files = await openComponent(path, { variant, rename: renameChatGlmKey, unused: isChatGlmHead })
  return { kind, files, tokenizer: await openChatGlmTokenizer(folder) }
}
