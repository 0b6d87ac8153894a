import { defineConfig } from "rolldown"

/**
 * What Node runs, in a few files with what they import: reading hundreds of small ones takes longer than opening the model
 * that limn comes with. They lie side by side, and as deep in the package as `src/cli`, so that each finds the others and
 * `models`. Browsers' bundlers take the single modules instead.
 */
export default defineConfig({
  input: {
    index: "src/index.ts",
    main: "src/cli/main.ts",
    "ort-worker": "src/runtime/platform/node/ort-worker.ts",
    "probe-process": "src/runtime/platform/node/probe-process.ts",
  },
  platform: "node",
  external: ["onnxruntime-node", "sharp"],
  resolve: { conditionNames: ["source", "node", "import"] },
  output: { dir: "dist/node", cleanDir: true },
  logLevel: "warn",
})
