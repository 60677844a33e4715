// The measured calls in Express 5. KEY_OBJECT=1 hands jsonwebtoken a KeyObject: the tuned peer.

import { createSecretKey } from "node:crypto";
import express from "express";
import jwt from "jsonwebtoken";
import { z } from "zod";
import { Fleet } from "./fleet.js";

const { PORT, JWT_SECRET, DEVICES, KEY_OBJECT } = process.env;
const key = KEY_OBJECT ? createSecretKey(Buffer.from(JWT_SECRET)) : JWT_SECRET;
const fleet = new Fleet(Number(DEVICES));

const id = z.coerce.number().int().min(1).max(Number.MAX_SAFE_INTEGER);
const limit = (usual) => z.coerce.number().int().min(1).max(1000).default(usual);
const DeviceId = z.object({ id });
const DevicesQuery = z.strictObject({
  limit: limit(100),
  after: id.optional(),
  status: z.string().regex(/^(200|202|400|404|500)(,(200|202|400|404|500))*$/).optional(),
});
const ErrorsQuery = z.strictObject({
  limit: limit(50),
  before: id.optional(),
  device_id: id.optional(),
  status: z.coerce.number().int().optional(),
  since: z.iso.datetime({ precision: 6 }).optional(),
});

function authenticate(request, response, next) {
  const [scheme, token] = (request.headers.authorization ?? "").split(" ");
  if (scheme.toLowerCase() !== "bearer" || !token) {
    return response.status(401).json({ message: "Send a token." });
  }
  try {
    request.user = jwt.verify(token, key, { algorithms: ["HS256"], issuer: "pisync" });
  } catch {
    return response.status(401).json({ message: "The token is not valid." });
  }
  if (!request.user.scopes?.includes("devices")) {
    return response.status(403).json({ message: "The token lacks the scope devices." });
  }
  next();
}

function findDevice(request, response, next) {
  const parsed = DeviceId.safeParse(request.params);
  const device = parsed.success ? fleet.device(parsed.data.id) : undefined;
  if (!device) return response.status(404).json({ message: "There is no such device." });
  request.device = device;
  next();
}

function query(schema) {
  return (request, response, next) => {
    const parsed = schema.safeParse(request.query);
    if (!parsed.success) {
      const { fieldErrors } = z.flattenError(parsed.error);
      return response.status(422).json({ message: "Some fields are not valid.", errors: fieldErrors });
    }
    request.parsed = parsed.data;
    next();
  };
}

const app = express();
app.use(authenticate);

app.get("/devices", query(DevicesQuery), (request, response) => {
  const { devices, total, more } = fleet.page(request.parsed);
  response.set("X-Total-Count", total);
  if (more) {
    const { limit, status } = request.parsed;
    const next = new URLSearchParams({ limit, after: devices.at(-1).device_id, ...(status && { status }) });
    response.set("Link", `</devices?${next}>; rel="next"`);
  }
  response.json(devices);
});

app.get("/devices/:id", findDevice, (request, response) => {
  response.json(request.device);
});

app.post("/devices/:id/sync", findDevice, (request, response) => {
  const attempt = fleet.sync(request.device);
  response
    .status(202)
    .location(`/devices/${request.device.device_id}`)
    .set("Pisync-Attempt", attempt)
    .json(request.device);
});

app.get("/errors", query(ErrorsQuery), (request, response) => {
  response.json(fleet.errors(request.parsed));
});

app.get("/stats", (_request, response) => {
  response.json(fleet.stats());
});

app.use((_request, response) => {
  response.status(404).json({ message: "There is nothing at this path." });
});

app.listen(Number(PORT), "127.0.0.1");
