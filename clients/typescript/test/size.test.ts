import { gzipSync } from "node:zlib";

import { build } from "esbuild";
import { expect, test } from "vitest";

/** Bytes that an import of these names adds to a page: bundled, minified, gzipped. */
async function sizeOf(names: string): Promise<number> {
  const contents = `import { ${names} } from "./src/index.js"; console.log(${names});`;
  const options = { bundle: true, minify: true, write: false, platform: "browser", format: "esm" } as const;
  const { outputFiles } = await build({ ...options, stdin: { contents, resolveDir: "." } });
  return gzipSync(outputFiles[0]!.contents).length;
}

test("all of it takes less than 4 kB, and a user's part less than that", async () => {
  const all = await sizeOf("PisyncClient, PisyncError, FleetClient, fleet");
  const user = await sizeOf("PisyncClient");
  const error = await sizeOf("PisyncError");
  expect(all).toBeLessThan(4000);
  expect(user).toBeLessThan(all - 300);
  expect(error).toBeLessThan(600);
});
