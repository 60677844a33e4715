import { defineConfig } from "@playwright/test";

export default defineConfig({
  testMatch: ["examples/**/*.spec.ts", "test/**/*.spec.ts"],
  globalSetup: "./src/setup.ts",
  workers: 1,
  timeout: 120_000, // on a machine that is busy
  expect: { timeout: 30_000 },
  reporter: "list",
  outputDir: "test-results",
  use: {
    launchOptions: {
      // The system's own browser: none is downloaded. Root has no sandbox.
      executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
      args: ["--no-sandbox", "--disable-gpu"],
    },
  },
});
