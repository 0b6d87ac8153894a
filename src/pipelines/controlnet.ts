import { absolutePath, exists } from "#platform"
import { FormatError, UsageError } from "../ground/errors.ts"
import type { ControlNetConfig } from "../models/config/controlnet.ts"
import { controlNetConfig, publishedConditioningWidths } from "../models/config/controlnet.ts"
import type { UNetEncoderConfig } from "../models/config/unet.ts"
import { controlNet as describe } from "../models/controlnet.ts"
import { likenessOf } from "../models/likeness.ts"
import { controlNetParameters } from "../models/parameters/controlnet.ts"
import { looksLikeRepo } from "../runtime/hub/names.ts"
import type { Component } from "./component.ts"
import { checkAllRead, componentWeights, configPath, openComponent } from "./component.ts"
import { namedResiduals } from "./controls.ts"
import { controlNetPlaces, placedShapes, placedTensors } from "./file-parts.ts"
import { lastPart } from "./files.ts"
import type { HubOptions } from "./hub-model.ts"
import { hubNetwork } from "./hub-model.ts"
import type { ControlNet, LoadedControlNet, Model } from "./model.ts"
import { network } from "./network.ts"
import { namesSingleFile } from "./single-file.ts"
import type { TensorFile } from "./tensor-file.ts"
import { withTensorFile } from "./tensor-file.ts"

/**
 * A ControlNet for `model.with` (Zhang et al. 2023): a diffusers folder; or one of the Hub by its name, `org/name`; or a
 * file with the names of its authors, or of diffusers. What it is to follow is said with each picture, as `controls`.
 */
export function controlNet(path: string, options: HubOptions = {}): ControlNet {
  return { ...options, kind: "controlnet", path }
}

/**
 * ControlNets for a model, in order. Throws a UsageError where there is nothing at a path, a FormatError where what is
 * there is no ControlNet, or one for another model.
 */
export function loadControlNets(model: Model, given: readonly ControlNet[]): Promise<LoadedControlNet[]> {
  return Promise.all(given.map((one) => loadControlNet(model, one)))
}

/** What settings call the ControlNet at a path, or of such a name on the Hub: the last part, without a file's ending. */
export function controlNetName(path: string): string {
  return lastPart(path.replace(/[\\/]+$/, "")).replace(weightEnding, "")
}

const weightEnding = /\.(safetensors|ckpt|pt|pth|bin)$/i

async function loadControlNet(
  model: Model,
  { path, kind: _, ...options }: ControlNet,
): Promise<LoadedControlNet> {
  const variant = options.variant ?? (model.precision === "fp16" ? "fp16" : undefined)
  const { component, config } = await openControlNet(model, path, { ...options, variant })
  checkFit(component.path, config, model)
  const weights = componentWeights(component, controlNetParameters(config))
  return {
    name: controlNetName(path),
    config,
    network: network(({ sample, timestep, encoderHiddenStates, textEmbeds, timeIds, picture, scales }) => {
      const w = weights()
      const text = { encoderHiddenStates, textEmbeds, timeIds }
      const residuals = describe({ sample, timestep, ...text, picture, scales }, w, config)
      checkAllRead(w)
      return namedResiduals(residuals)
    }, model.running),
  }
}

/** A ControlNet of which no weight is read. */
interface OpenedControlNet {
  readonly component: Component
  readonly config: ControlNetConfig
}

async function openControlNet(model: Model, path: string, options: HubOptions): Promise<OpenedControlNet> {
  const place = absolutePath(path)
  const there = await exists(place)
  if (there && namesSingleFile(place)) return withTensorFile(place, (file) => openFile(file, model))
  if (!there && (namesSingleFile(path) || !looksLikeRepo(path)))
    throw new UsageError(
      `There is no ControlNet at ${path}; give a file, a folder in diffusers' layout, or its name on the Hub, as org/name.`,
    )
  const component = await openComponent(there ? place : await hubNetwork(path, options), options)
  return { component, config: controlNetConfig(component.config, configPath(component)) }
}

/** A file does not say how its network is built: as the U-Net of the model, which it must have been copied from. */
function openFile(file: TensorFile, { unetConfig, vaeConfig, latentPixels, name }: Model): OpenedControlNet {
  const { path, tensors } = file
  if (![...tensors.keys()].some((one) => ownTensor.test(one)))
    throw new FormatError(
      `${path} ${holds(likenessOf(tensors)?.name)}; give a ControlNet, or for one of another kind its folder in diffusers' layout.`,
    )
  const published = publishedConditioningWidths(latentPixels)
  const copied: ControlNetConfig = {
    ...unetConfig,
    inChannels: vaeConfig.latentChannels,
    middleAttends: true,
    channelOrder: "rgb",
    conditioningWidths: published,
    globalPool: /shuffle/i.test(lastPart(path)),
  }
  const places = controlNetPlaces(file, copied)
  const shapeOf = placedShapes(file, places)
  const layer = (i: number) =>
    `controlnet_cond_embedding.${i === 0 ? "conv_in" : `blocks.${2 * i - 1}`}.weight`
  const conditioningWidths = published.map((width, i) => shapeOf(layer(i))?.[0] ?? width)
  const config = { ...copied, conditioningWidths }
  const asker = { name: `a ControlNet for ${name}`, remedy: "give one that is made for this model" }
  const placed = placedTensors(file, controlNetParameters(config), places)
  return { component: { path, config: undefined, tensors: placed, asker }, config }
}

/** Some tensor of every ControlNet, by the names of its authors and of diffusers. */
const ownTensor = /^(control_model\.)?(input_hint_block|controlnet_cond_embedding)\./

function holds(likeness: string | undefined): string {
  return likeness === undefined ? "holds no ControlNet" : `looks like ${likeness}`
}

/** Throws a FormatError where a ControlNet was made for another model. */
function checkFit(path: string, config: ControlNetConfig, model: Model): void {
  const { unetConfig, vaeConfig, latentPixels } = model
  const { additionEmbed } = config
  const textWidth = (one: UNetEncoderConfig) => one.encoderHidDim ?? one.crossAttentionDim[0]
  const facts: readonly (readonly [what: string, theirs: unknown, ours: unknown])[] = [
    ["channels of each block", config.blockOutChannels, unetConfig.blockOutChannels],
    ["layers of each block", config.layersPerBlock, unetConfig.layersPerBlock],
    ["channels of the latents", config.inChannels, vaeConfig.latentChannels],
    ["width of the text", textWidth(config), textWidth(unetConfig)],
    ["pixels beside each latent", 2 ** (config.conditioningWidths.length - 1), latentPixels],
    ["additional embedding", additionEmbed, additionEmbed && unetConfig.additionEmbed],
  ]
  for (const [what, theirs, ours] of facts)
    if (JSON.stringify(theirs) !== JSON.stringify(ours))
      throw new FormatError(
        `${path} is a ControlNet for another model: its ${what} ${JSON.stringify(theirs)} should be ${JSON.stringify(ours)}; give one that is made for ${model.name}.`,
      )
}
