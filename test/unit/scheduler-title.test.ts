import { expect, test } from "vitest"
import { schedulerFromConfig, schedulerNames, schedulerTitle } from "../../src/schedulers/scheduler.ts"

test.each(schedulerNames.filter((name) => /^[A-Z]/.test(name)))(
  "%s is what its configuration is called",
  (name) => {
    expect(schedulerTitle(schedulerFromConfig({}, name).config)).toBe(name)
  },
)

test("a walk that web tools do not have goes by its class", () => {
  const { config } = schedulerFromConfig(
    { algorithm_type: "dpmsolver++", solver_order: 3 },
    "dpmsolver-multistep",
  )
  expect(schedulerTitle(config)).toBe("DPMSolverMultistep")
})
