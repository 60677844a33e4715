import { execFile, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

import { PisyncClient } from "./client.js";

/** A server that runs: where it is, and how to stop it. */
export interface Running {
  url: string;
  stop: () => Promise<void>;
}

const START_SECONDS = 60;

/** Start the command; return undefined if there is none. */
export async function startProcess(command: string, settings: { [variable: string]: string }): Promise<Running | undefined> {
  const folder = await mkdtemp(join(tmpdir(), "pisync-"));
  const file = join(folder, "ready.json");
  const own = Object.entries(process.env).filter(([name]) => !name.startsWith("PISYNC_"));
  const child = spawn(command, ["serve", "--port", "0", "--ready-file", file], {
    env: { ...Object.fromEntries(own), ...settings },
    stdio: ["ignore", "ignore", "pipe"],
  });
  let log = "";
  child.stderr.on("data", (data) => (log = (log + data).slice(-2000)));
  let ended: Error | undefined;
  const exited = new Promise<void>((resolve) => {
    const end = (error: Error) => {
      ended ??= error;
      resolve();
    };
    child.once("error", end);
    child.once("exit", (status) => end(new Error(`${command} serve ended with status ${status}:\n${log}`)));
  });
  // It keeps nothing that a drain would save.
  const kill = () => child.kill("SIGKILL");
  process.once("exit", kill);
  const stop = async () => {
    process.off("exit", kill);
    child.ref(); // else Node may find nothing to wait for, and end with status 0
    kill();
    await exited;
    await rm(folder, { recursive: true });
  };
  try {
    for (const deadline = Date.now() + START_SECONDS * 1000; !existsSync(file); await sleep(10)) {
      if (ended) throw ended;
      if (Date.now() > deadline) throw new Error(`${command} serve is not ready after ${START_SECONDS} s:\n${log}`);
    }
    const { url } = JSON.parse(await readFile(file, "utf8")) as { url: string };
    // Whoever forgets to stop it can still end.
    child.unref();
    (child.stderr as unknown as { unref(): void }).unref();
    return { url, stop };
  } catch (error) {
    await stop();
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}

/** Run the image, on a port of the loopback interface that is free. */
export async function startContainer(image: string, settings: { [variable: string]: string }): Promise<Running> {
  const docker = async (...parts: string[]) => {
    const { stdout } = await promisify(execFile)("docker", parts, { env: { ...process.env, ...settings } });
    return stdout.trim();
  };
  const variables = Object.keys(settings).flatMap((name) => ["--env", name]);
  const id = await docker("run", "--detach", "--rm", "--publish", "127.0.0.1::8080", ...variables, image).catch(
    (error: Error) => {
      const ways = "Install pisync, build its image (`make image`), or set PISYNC_URL to a server that runs.";
      throw new Error(`There is no PiSync to test against. ${ways}\n${error.message}`);
    },
  );
  const stop = async () => {
    await docker("rm", "--force", id);
  };
  try {
    const url = `http://${await docker("port", id, "8080/tcp")}`;
    for (const deadline = Date.now() + START_SECONDS * 1000; ; await sleep(50)) {
      if (await isReady(url)) return { url, stop };
      if (Date.now() > deadline) throw new Error(`The container of ${image} is not ready after ${START_SECONDS} s.`);
    }
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Whether it answers within a second: Docker accepts connections before there is anyone to serve them. */
async function isReady(url: string): Promise<boolean> {
  const client = new PisyncClient({ url, timeout: 1000 });
  return client.call("GET", "/readyz").then(
    () => true,
    () => false,
  );
}
