import { createHmac, randomBytes } from "node:crypto";

import { PisyncError } from "./error.js";
import { FleetClient } from "./fleet.js";
import { startContainer, startProcess } from "./start.js";
import type { DeviceSpec, Profile } from "./types.js";

/** What a test's fleet is made of. Default: ten devices, the default profile, seed 1. */
export interface FleetSpec {
  /** How many, or which. Default: ten. */
  devices?: number | readonly DeviceSpec[];
  /** What differs from the default profile. */
  profile?: Partial<Profile>;
  /** Seconds after which the server forgets it, should the test run die. Default: an hour. */
  ttl?: number | null;
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

const FLEET_SECONDS = 3600;
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

  /**
   * Return a token with these scopes, for `seconds`, good for `fleet` alone if that is given.
   *
   * Where only `PISYNC_TOKEN` is known, that is the one.
   */
  token(scopes: readonly Scope[] = ["devices"], seconds = TOKEN_SECONDS, fleet?: string): string {
    const { secret, token } = this.#credentials;
    return secret ? mint(secret, scopes, seconds, fleet) : token!;
  }

  /** Return a client for a fleet, whether it is there already or not. */
  fleet(name: string): FleetClient {
    const { url } = this;
    return new FleetClient(name, { url, token: this.token(), adminToken: this.token(["devices", "admin"]) });
  }

  /** Make a fleet with a name of its own. Whoever makes it deletes it. */
  async newFleet({ devices = 10, profile, ttl = FLEET_SECONDS }: FleetSpec = {}): Promise<FleetClient> {
    const fleet = this.fleet(`test-${randomBytes(6).toString("hex")}`);
    await fleet.replace(devices, { seed: 1, ...profile }, { ttl });
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
    PISYNC_LOG_FORMAT: "text", // for whoever reads why it can't start
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

function mint(secret: string, scopes: readonly Scope[], seconds: number, fleet?: string): string {
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const iat = Math.floor(Date.now() / 1000);
  const claims = { sub: "tester", iss: "pisync", scopes, iat, exp: iat + seconds, fleet };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  return `${signed}.${createHmac("sha256", secret).update(signed).digest("base64url")}`;
}
