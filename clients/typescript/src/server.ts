import { execFile, spawn } from "node:child_process";
import { createHmac, randomBytes } from "node:crypto";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";

import { PisyncClient } from "./client.js";
import { PisyncError } from "./error.js";
import { FleetClient } from "./fleet.js";
import type { DeviceSpec, Profile } from "./types.js";

/** What a test's fleet is made of. Default: ten devices, the default profile, seed 1. */
export interface FleetSpec {
  /** How many, or which. Default: ten. */
  devices?: number | readonly DeviceSpec[];
  /** What differs from the default profile. */
  profile?: Partial<Profile>;
}

/** How to start a server where `PISYNC_URL` names none. */
export interface ServerOptions {
  /** More settings, by their variables: `{ PISYNC_TOKEN_TTL: "2" }`. */
  settings?: { readonly [variable: string]: string };
  /** The command to start. Default: `PISYNC_COMMAND`, or `pisync`. */
  command?: string;
  /** The image to run where there is no such command. Default: `PISYNC_IMAGE`, or `pisync`. */
  image?: string;
}

/** A scope of a token. */
export type Scope = "devices" | "admin";

interface Running {
  url: string;
  stop: () => Promise<void>;
}

const START_SECONDS = 60;
const TOKEN_SECONDS = 86_400; // outlives a day in the debugger

/** A server for tests, and what it takes to be let in. */
export class PisyncServer {
  readonly #credentials: { secret?: string | undefined; token?: string | undefined };
  readonly #stop: () => Promise<void>;

  /** @internal */
  constructor(
    /** The server's base URL. */
    readonly url: string,
    credentials: { secret?: string | undefined; token?: string | undefined },
    stop: () => Promise<void>,
  ) {
    this.#credentials = credentials;
    this.#stop = stop;
  }

  /** What a process has to have in its environment so that `startServer` finds this server there. */
  get environment(): { readonly [variable: string]: string | undefined } {
    const { secret, token } = this.#credentials;
    return { PISYNC_URL: this.url, PISYNC_JWT_SECRET: secret, PISYNC_TOKEN: token };
  }

  /** Return a token with these scopes, for `seconds`. Where only `PISYNC_TOKEN` is known, that is the one. */
  token(scopes: readonly Scope[] = ["devices"], seconds = TOKEN_SECONDS): string {
    const { secret, token } = this.#credentials;
    return secret ? mint(secret, scopes, seconds) : token!;
  }

  /** Return a client for a fleet, whether it is there already or not. */
  fleet(name: string): FleetClient {
    const { url } = this;
    return new FleetClient(name, { url, token: this.token(), adminToken: this.token(["devices", "admin"]) });
  }

  /** Make a fleet with a name of its own. Whoever makes it deletes it. */
  async newFleet({ devices = 10, profile }: FleetSpec = {}): Promise<FleetClient> {
    const fleet = this.fleet(`test-${randomBytes(6).toString("hex")}`);
    await fleet.replace(devices, { seed: 1, ...profile });
    return fleet;
  }

  /** Stop the server, if `startServer` has started it. */
  stop(): Promise<void> {
    return this.#stop();
  }
}

/**
 * Return the server that `PISYNC_URL` names, or start one: `pisync serve` where it is installed, else `docker run`.
 *
 * A server that is named needs `PISYNC_JWT_SECRET`, to mint tokens, or `PISYNC_TOKEN`, a token with both
 * scopes. One that is started keeps everything in memory, and lets pages of all origins call it.
 */
export async function startServer(options: ServerOptions = {}): Promise<PisyncServer> {
  const { PISYNC_URL: url, PISYNC_JWT_SECRET: known, PISYNC_TOKEN: token, PISYNC_COMMAND, PISYNC_IMAGE } = process.env;
  if (url) {
    if (!known && !token) throw new Error("PISYNC_URL is set: set PISYNC_JWT_SECRET or PISYNC_TOKEN, too.");
    return new PisyncServer(url, { secret: known, token }, async () => {});
  }
  const secret = randomBytes(32).toString("hex");
  const settings = {
    PISYNC_JWT_SECRET: secret,
    PISYNC_TOKEN_TTL: String(TOKEN_SECONDS),
    PISYNC_BCRYPT_COST: "4", // a millisecond a password
    PISYNC_CORS_ORIGINS: "*",
    ...options.settings,
  };
  const running =
    (await startProcess(options.command ?? PISYNC_COMMAND ?? "pisync", settings)) ??
    (await startContainer(options.image ?? PISYNC_IMAGE ?? "pisync", settings));
  return new PisyncServer(running.url, { secret }, running.stop);
}

/** Delete a fleet that the test may have deleted already. */
export async function discard(fleet: FleetClient): Promise<void> {
  await fleet.delete().catch((error: unknown) => {
    if (!(error instanceof PisyncError && error.status === 404)) throw error;
  });
}

/** Describe a fleet for whoever reads a failed test: its seed, counts, last requests and error logs. */
export async function describeFleet(fleet: FleetClient): Promise<string> {
  const [view, ledger, logs, requests] = await Promise.all([
    fleet.view(),
    fleet.ledger(),
    fleet.errors({ limit: 5 }).pages().next(),
    lastRequests(fleet),
  ]);
  const { seed, clock } = view;
  const { accepted, succeeded, pending, held, error_logs: failed } = ledger;
  return [
    `PiSync fleet ${fleet.fleet} at ${fleet.url}: seed ${seed}, clock ${clock.mode}, now ${clock.now}`,
    `syncs: ${accepted} accepted, ${succeeded} succeeded, ${failed} failed, ${pending} pending (${held} held)`,
    ...requests,
    ...(logs.value?.items ?? []).map(
      (log) => `error log: device ${log.device_id}, attempt ${log.attempt}: ${log.sync_status_code} ${log.error_message}`,
    ),
  ].join("\n  ");
}

/** The fleet's newest requests, oldest first; none from a server that keeps no journal. */
async function lastRequests(fleet: FleetClient): Promise<string[]> {
  type Request = { method: string; path: string; status: number | null; request_id: string };
  try {
    const path = "/requests?limit=10";
    const requests = await fleet.control<Request[]>("GET", path);
    return requests.reverse().map(({ method, path, status, request_id }) => `${method} ${path}: ${status} (${request_id})`);
  } catch (error) {
    if (error instanceof PisyncError) return [];
    throw error;
  }
}

function mint(secret: string, scopes: readonly Scope[], seconds: number): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const iat = Math.floor(Date.now() / 1000);
  const claims = { sub: "tester", iss: "pisync", scopes, iat, exp: iat + seconds };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}

/** Start the command; return undefined if there is none. */
async function startProcess(command: string, settings: { [variable: string]: string }): Promise<Running | undefined> {
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
async function startContainer(image: string, settings: { [variable: string]: string }): Promise<Running> {
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
