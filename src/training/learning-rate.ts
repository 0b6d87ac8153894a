/** How the learning rate moves after its warm-up; diffusers' names. */
export type LearningRateSchedule = "constant" | "linear" | "cosine"

/**
 * What to multiply the learning rate by at optimizer step `step` (0 for the first): a straight climb over
 * `warmupSteps`, then the schedule down to zero at `steps` (diffusers `get_scheduler`).
 */
export function learningRateFactor(
  step: number,
  { schedule, warmupSteps, steps }: { schedule: LearningRateSchedule; warmupSteps: number; steps: number },
): number {
  if (step < warmupSteps) return step / Math.max(1, warmupSteps)
  if (schedule === "constant") return 1
  const done = Math.min(1, (step - warmupSteps) / Math.max(1, steps - warmupSteps))
  return schedule === "linear" ? 1 - done : 0.5 * (1 + Math.cos(Math.PI * done))
}
