import { absolutePath } from "#platform"
import { renameAutoencoderKey, renameChatGlmKey } from "../models/names.ts"
import { isChatGlmHead } from "../models/parameters/chatglm.ts"
import { openComponent } from "./component.ts"
import { readDefaults } from "./defaults.ts"
import type { Family } from "./family.ts"
import { readModelIndex } from "./family.ts"
import { readJson } from "./files.ts"
import type { ModelParts } from "./model.ts"
import type { TextParts } from "./text-encoder.ts"
import { openChatGlmTokenizer, openTokenizer } from "./tokenizer.ts"

/**
 * The parts of a model from its folder in diffusers' layout; of several copies of the weights the wanted variant.
 * Throws a LimnError where a file is missing or the model is of no family that limn runs, a FormatError where a file is
 * not what it claims to be.
 */
export async function openFolder(folder: string, variant: string | undefined): Promise<ModelParts> {
  const { family, zeroNegative } = await readModelIndex(folder)
  const part = (name: string) => absolutePath(folder, name)
  const [texts, unet, vae, schedulerConfig, defaults] = await Promise.all([
    Promise.all(family.textEncoders.map((one) => openText(folder, one, variant))),
    openComponent(part("unet"), { variant }),
    openComponent(part("vae"), { variant, rename: renameAutoencoderKey }),
    readJson(absolutePath(folder, "scheduler", "scheduler_config.json")),
    readDefaults(folder, family.defaults),
  ])
  return { path: folder, family, texts, unet, vae, schedulerConfig, defaults, zeroNegative }
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
