import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    globalSetup: "src/setup.ts",
    testTimeout: 60_000, // on a machine that is busy
  },
});
