import { loadControlNets } from "./controlnet.ts"
import { ipAdapterChanges } from "./ip-adapter.ts"
import { loraChanges, textParts } from "./lora.ts"
import type { Addition, Model } from "./model.ts"
import type { Network } from "./network.ts"

/** What `Model.with` does: a model like this one with more in it, which shares what does not change. */
export async function withAdditions(model: Model, additions: readonly Addition[]): Promise<Model> {
  const { loras, adapt } = await loraChanges(
    model,
    additions.filter((one) => one.kind === "lora"),
  )
  const added = await loadControlNets(
    model,
    additions.filter((one) => one.kind === "controlnet"),
  )
  const { ipAdapters, widen } = await ipAdapterChanges(
    model,
    additions.filter((one) => one.kind === "ip-adapter"),
  )
  const all: Network[] = []
  const own = (network: Network): Network => {
    all.push(network)
    return network
  }
  const shared = (network: Network) => own(network.with([], {}))
  const extended: Model = {
    ...model,
    unet: own(widen(own(adapt(model.unet, "unet")))),
    encoder: shared(model.encoder),
    decoder: shared(model.decoder),
    textEncoders: model.textEncoders.map((encoder, i) => ({
      ...encoder,
      network: own(adapt(encoder.network, textParts[i])),
    })),
    safetyChecker: model.safetyChecker && {
      ...model.safetyChecker,
      network: shared(model.safetyChecker.network),
    },
    encodings: new Map(),
    loras,
    controlNets: [
      ...model.controlNets.map((one) => ({ ...one, network: shared(one.network) })),
      ...added.map((one) => ({ ...one, network: own(one.network) })),
    ],
    ipAdapters,
    with: (...more) => withAdditions(extended, more),
    async close() {
      await Promise.all(all.map((network) => network.close()))
    },
  }
  return extended
}
