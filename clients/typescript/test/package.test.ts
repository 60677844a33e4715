// What a user gets: the packed package in an empty project, where the README's examples compile and run.
import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";

import { afterAll, beforeAll, expect } from "vitest";

import playwright from "../playwright.config.js";
import { test } from "../src/vitest.js";

/** The packages that a user has beside this one. */
const BESIDE = ["@playwright", "@types", "typescript", "vitest"];

let project: string;
let paths: string[];
const files: string[] = [];

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), "pisync-user-"));
  const packing = ["pack", "--json", "--ignore-scripts", "--pack-destination", project];
  const [packed] = JSON.parse(stdout(await run("npm", packing, "."))) as { filename: string; files: { path: string }[] }[];
  paths = packed!.files.map((file) => file.path);
  await writeFile(join(project, "package.json"), '{ "type": "module", "private": true }');
  stdout(await run("npm", ["install", "--offline", `./${packed!.filename}`]));
  for (const name of BESIDE) await symlink(resolve("node_modules", name), join(project, "node_modules", name));

  // A block is a program, unless its first line names its file.
  const readme = await readFile("README.md", "utf8");
  for (const [, code] of readme.matchAll(/^```ts\n(.*?)^```$/gms)) {
    const name = /^\/\/ (\S+\.ts)$/m.exec(code!.split("\n")[0]!)?.[1] ?? `program-${files.length}.ts`;
    await writeFile(join(project, name), code!);
    files.push(name);
  }
  // Those of docs/waiting.md are one module of tests.
  const waiting = await readFile("../../docs/waiting.md", "utf8");
  const blocks = [...waiting.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, code]) => code!);
  await writeFile(join(project, "waiting.test.ts"), blocks.join("\n"));
  files.push("waiting.test.ts");
}, 180_000);

afterAll(() => rm(project, { recursive: true, force: true }));

test("it has what it says, and no more", () => {
  expect(paths).toEqual(expect.arrayContaining(["README.md", "package.json", "dist/index.js", "dist/index.d.ts"]));
  expect(paths.filter((path) => !/^(dist\/\w+\.(js|d\.ts)|README\.md|LICENSE|package\.json)$/.test(path))).toEqual([]);
});

test("the README's examples compile, strictly, and its programs run", async ({ pisyncServer }) => {
  const programs = files.filter((name) => name.startsWith("program-"));
  expect(programs).toHaveLength(3);
  const token = pisyncServer.token(["devices", "admin"]);
  // Nobody else uses the fleet that is there from the start.
  await pisyncServer.fleet("default").changeProfile({ delay: { distribution: "constant", seconds: 0.3 } });
  for (const name of programs) {
    const code = await readFile(join(project, name), "utf8");
    const here = `{ url: "${pisyncServer.url}" }`;
    const placed = code
      .replaceAll("http://127.0.0.1:8080", pisyncServer.url)
      .replace("new PisyncClient()", `new PisyncClient(${here})`)
      .replace("{ token: process", `{ ...${here}, token: process`);
    await writeFile(join(project, name), placed);
  }
  const strict = ["--strict", "--target", "es2022", "--module", "nodenext", "--exactOptionalPropertyTypes", "--noUncheckedIndexedAccess"];
  stdout(await tool("typescript/bin/tsc", [...strict, "--outDir", "built", "--rootDir", ".", ...files]));
  const built = programs.map((name) => join("built", name.replace(".ts", ".js")));
  const done = await Promise.all(built.map((path) => run("node", [path], project, { PISYNC_TOKEN: token })));
  done.forEach(stdout);
}, 180_000);

test("the vitest fixtures work, and a failed test shows its fleet's seed", async () => {
  await writeFile(
    join(project, "failing.test.ts"),
    `import { test } from "pisync/vitest";
     test("fails", async ({ pisync }) => { await pisync.replace(3, { seed: 4711 }); throw new Error("as it should"); });`,
  );
  const { status, output } = await tool("vitest/vitest.mjs", ["run", "sync.test.ts", "failing.test.ts"]);
  expect(output).toMatch(/Tests .*1 failed.*2 passed/);
  expect(output).toMatch(/PiSync fleet test-\w+ at http:\S+: seed 4711/);
  expect(output.match(/PiSync fleet/g)).toHaveLength(1);
  expect(status).toBe(1);
}, 180_000);

test("the examples of how to wait pass", async () => {
  const { status, output } = await tool("vitest/vitest.mjs", ["run", "waiting.test.ts"]);
  const examples = (await readFile(join(project, "waiting.test.ts"), "utf8")).match(/^test\(/gm)!.length;
  expect(status, output).toBe(0);
  expect(output).toMatch(new RegExp(`Tests +${examples} passed`));
}, 180_000);

test("the Playwright fixtures work, and a failed test shows its fleet's seed", async () => {
  const html = await readFile("examples/playwright/page.html");
  const app = createServer((_, response) => response.setHeader("Content-Type", "text/html").end(html));
  await new Promise<void>((listening) => app.listen(0, "127.0.0.1", listening));
  await writeFile(
    join(project, "failing.spec.ts"),
    `import { test } from "pisync/playwright";
     test("fails", async ({ pisync }) => { await pisync.replace(3, { seed: 4711 }); throw new Error("as it should"); });`,
  );
  const { workers, timeout, expect: patience, use } = playwright;
  const settings = { workers, timeout, expect: patience, use };
  await writeFile(
    join(project, "here.config.ts"),
    `import config from "./playwright.config.js";
     export default { ...config, reporter: "list", testMatch: "*.spec.ts", ...${JSON.stringify(settings)} };`,
  );
  const url = `http://127.0.0.1:${(app.address() as AddressInfo).port}`;
  const { status, output } = await tool("@playwright/test/cli.js", ["test", "--config", "here.config.ts"], { APP_URL: url });
  app.close();
  expect(output).toMatch(/1 failed[^]*1 passed/);
  expect(output).toMatch(/PiSync fleet test-\w+ at http:\S+: seed 4711/);
  expect(output.match(/PiSync fleet/g)).toHaveLength(1);
  expect(status).toBe(1);
}, 180_000);

interface Done {
  status: number;
  output: string;
  stdout: string;
}

/** Run a command; return what it printed. It finds a server by itself, as a user's does. */
async function run(command: string, parts: string[], cwd = project, more: NodeJS.ProcessEnv = {}): Promise<Done> {
  const own = Object.entries(process.env).filter(([name]) => !/^(PISYNC_(URL|TOKEN|JWT_SECRET)|VITEST|NODE_ENV|TEST)/.test(name));
  const env = { ...Object.fromEntries(own), NO_COLOR: "1", ...more };
  const [status, stdout, stderr] = await promisify(execFile)(command, parts, { cwd, env }).then(
    (done) => [0, done.stdout, done.stderr] as const,
    (error) => [error.code as number, error.stdout as string, error.stderr as string] as const,
  );
  return { status, stdout, output: stdout + stderr };
}

/** Run a tool of a package in the user's project. */
function tool(path: string, parts: string[], more?: NodeJS.ProcessEnv): Promise<Done> {
  return run("node", [join("node_modules", path), ...parts], project, more);
}

function stdout(done: Done): string {
  expect(done.status, done.output).toBe(0);
  return done.stdout;
}
