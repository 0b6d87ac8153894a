/** The numbers that verbs and additions take where the caller gives none, as a family's reference has them. */
export interface Usage {
  /** How far `imageToImage` leaves the picture, by the text alone and with ControlNets. */
  readonly strength: number
  readonly controlledStrength: number
  /** Whether that begins with noise alone where ControlNets are followed at strength 1: the picture is then not looked at. */
  readonly controlledFromNoise: boolean
  /** How far `inpaint` leaves the picture, and how closely it follows the prompt where that is not the model's default. */
  readonly inpaintStrength: number
  readonly inpaintGuidance?: number
  /** How much of a ControlNet, of a LoRA of the U-Net, of an IP-Adapter, and of one that reads faces. */
  readonly controlScale: number
  readonly loraScale: number
  readonly ipScale: number
  readonly faceScale: number
  /** Whether poses are drawn for its ControlNets with the points of faces. */
  readonly poseFaces: boolean
  /**
   * Steps by the class of the scheduler, where it takes others than the model's. Such a scheduler may be chosen by its name
   * even where it walks other noise levels than the model's own.
   */
  readonly steps: Readonly<Record<string, number>>
}

/** diffusers' defaults, and DWPose's drawings. */
export const usual: Usage = {
  strength: 0.8,
  controlledStrength: 0.8,
  controlledFromNoise: false,
  inpaintStrength: 1,
  controlScale: 1,
  loraScale: 1,
  ipScale: 1,
  faceScale: 1,
  poseFaces: true,
  steps: {},
}

/** What the pipelines of Kolors' repository and diffusers' `KolorsImg2ImgPipeline` take, or else its scripts give them. */
export const kolorsUsage: Usage = {
  strength: 0.3,
  controlledStrength: 0.8,
  controlledFromNoise: true,
  inpaintStrength: 0.9999,
  inpaintGuidance: 7.5,
  controlScale: 0.8,
  loraScale: 0.8,
  ipScale: 0.5,
  faceScale: 0.8,
  poseFaces: false,
  steps: { EDMDPMSolverMultistepScheduler: 25 },
}
