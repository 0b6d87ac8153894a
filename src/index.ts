/** The public face of limn: verbs over a loaded model, and the parts that they are made of. */

// Files
export { decodePicture, openByteSource } from "#platform"
export type { ByteSource } from "./formats/byte-source.ts"
export { memorySource } from "./formats/byte-source.ts"
export type { PickleValue } from "./formats/pickle.ts"
export { decodePng, encodePng } from "./formats/png.ts"
export { readPngText } from "./formats/png-text.ts"
export type { SafetensorsEntry, SafetensorsFile } from "./formats/safetensors.ts"
export { encodeSafetensors, readSafetensorsHeader, readTensor } from "./formats/safetensors.ts"
export type { TorchFile } from "./formats/torch-checkpoint.ts"
export { readTorchHeader, readTorchTensor } from "./formats/torch-checkpoint.ts"
export type { TorchTensor } from "./formats/torch-tensors.ts"
// Graphs
export type { Graph } from "./graph/build.ts"
export { build, toOnnx } from "./graph/build.ts"
export { gradient } from "./graph/gradient.ts"
export { constant, input } from "./graph/node.ts"
export * as ops from "./graph/ops/index.ts"
export { toHalfPrecision } from "./graph/passes/precision.ts"
export { print } from "./graph/print.ts"
export type { Value } from "./graph/value.ts"
export type { StoredWeight, Weights } from "./graph/weights.ts"
export { inputWeights, storedWeights } from "./graph/weights.ts"
// Numbers
export type { CannyOptions } from "./ground/canny.ts"
export { cannyEdges } from "./ground/canny.ts"
export type { DType } from "./ground/dtype.ts"
export { FormatError, LimnError, UsageError } from "./ground/errors.ts"
export type { Pixels } from "./ground/image.ts"
export { pixels } from "./ground/image.ts"
export type { CpuGenerator, CpuGeneratorState } from "./ground/random/cpu-generator.ts"
export { cpuGenerator, cpuGeneratorFromState } from "./ground/random/cpu-generator.ts"
export type { CudaGenerator, CudaGeneratorState } from "./ground/random/cuda-generator.ts"
export { cudaGenerator, cudaGeneratorFromState } from "./ground/random/cuda-generator.ts"
export type { RandomSource } from "./ground/random/source.ts"
export { perSample, randnTensor } from "./ground/random/source.ts"
export type { Shape } from "./ground/shape.ts"
export type { Tensor } from "./ground/tensor.ts"
export { float32, int64, tensor, toFloat32 } from "./ground/tensor.ts"
export type { IpScale } from "./models/ip-scale.ts"
export type { FoundFace } from "./models/scrfd.ts"
export type { TileOptions } from "./pipelines/autoencoder.ts"
export { decodeLatents } from "./pipelines/autoencoder.ts"
export { controlNet } from "./pipelines/controlnet.ts"
export type { Control, WalkControl } from "./pipelines/controls.ts"
export type { ModelDefaults } from "./pipelines/defaults.ts"
// Pipelines
export type { DenoiseOptions, DenoiseStep } from "./pipelines/denoise.ts"
export { denoise } from "./pipelines/denoise.ts"
export type { DrawOptions, DrawResult, Timings } from "./pipelines/draw.ts"
export type { FaceModelPlaces } from "./pipelines/face-models.ts"
export type { FaceReader } from "./pipelines/faces.ts"
export { openFaceReader } from "./pipelines/faces.ts"
export { guide } from "./pipelines/guidance.ts"
export type { Image } from "./pipelines/image.ts"
export type { ImageToImageOptions } from "./pipelines/image-to-image.ts"
export { imageToImage } from "./pipelines/image-to-image.ts"
export type { InpaintOptions } from "./pipelines/inpaint.ts"
export { inpaint } from "./pipelines/inpaint.ts"
export type { IpAdapterOptions } from "./pipelines/ip-adapter.ts"
export { ipAdapter } from "./pipelines/ip-adapter.ts"
export type { IpDrawing, IpImage, IpImages } from "./pipelines/ip-images.ts"
export { encodeIpImages } from "./pipelines/ip-images.ts"
export type { LoadOptions } from "./pipelines/load.ts"
export { load } from "./pipelines/load.ts"
export { lora } from "./pipelines/lora.ts"
export type {
  Addition,
  Conditioning,
  ControlNet,
  IpAdapter,
  LoadedControlNet,
  LoadedIpAdapter,
  LoadedLora,
  Lora,
  Model,
  Precision,
  SeenImage,
} from "./pipelines/model.ts"
export { linearPreview } from "./pipelines/preview.ts"
export type { PreviewFactors } from "./pipelines/preview-factors.ts"
export type { PromptSyntax } from "./pipelines/prompt-syntax.ts"
export { parseWeights } from "./pipelines/prompt-syntax.ts"
export type { ReadingOptions } from "./pipelines/prompts.ts"
export { encodePrompt } from "./pipelines/prompts.ts"
export type { ControlSettings, IpSettings, PictureOptions, Settings } from "./pipelines/settings.ts"
export type { TextToImageOptions } from "./pipelines/text-to-image.ts"
export { textToImage } from "./pipelines/text-to-image.ts"
export type { TextualInversionOptions } from "./pipelines/textual-inversion.ts"
export { withTextualInversion } from "./pipelines/textual-inversion.ts"
// Recipes
export type { GridOptions, GridPicture, GridResult } from "./recipes/grid.ts"
export { grid } from "./recipes/grid.ts"
export type { GridAxis, GridSettings } from "./recipes/grid-axes.ts"
export type { FetchProgress } from "./runtime/hub/snapshot.ts"
export type { Device, Session, SessionOptions } from "./runtime/session.ts"
export { openSession } from "./runtime/session.ts"
// Schedulers and tokenizers
export type { CustomWalk, Scheduler, StepOptions, StepResult } from "./schedulers/scheduler.ts"
export { schedulerFromConfig, schedulerNames } from "./schedulers/scheduler.ts"
export type { ChatGlmRow, ChatGlmTokenizer, ChatGlmTokenizerFiles } from "./tokenizers/chatglm.ts"
export { chatGlmTokenizerFrom } from "./tokenizers/chatglm.ts"
export type { Tokenizer, TokenRow } from "./tokenizers/clip-bpe.ts"
export { clipTokenizer } from "./tokenizers/clip-bpe.ts"
// Training
export type { TrainOptions, TrainResult } from "./training/train.ts"
export { train } from "./training/train.ts"
