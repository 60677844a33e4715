// The measured calls in Fastify 5: its plugin for tokens, its schemas for input and output.

import fastifyJwt from "@fastify/jwt";
import Fastify from "fastify";
import { Fleet } from "./fleet.js";

const { PORT, JWT_SECRET, DEVICES } = process.env;
const fleet = new Fleet(Number(DEVICES));

const id = { type: "integer", minimum: 1, maximum: Number.MAX_SAFE_INTEGER };
const limit = (usual) => ({ type: "integer", minimum: 1, maximum: 1000, default: usual });
const nullableString = { type: ["string", "null"] };
const device = {
  type: "object",
  properties: {
    device_id: { type: "integer" },
    last_sync_at: nullableString,
    sync_status_code: { type: "integer" },
    error_message: nullableString,
    last_attempt_at: { type: "string" },
  },
};
const errorLog = {
  type: "object",
  properties: {
    error_id: { type: "integer" },
    device_id: { type: "integer" },
    attempt: { type: "integer" },
    sync_status_code: { type: "integer" },
    error_message: { type: "string" },
    occurred_at: { type: "string" },
  },
};
const listDevices = {
  querystring: {
    type: "object",
    additionalProperties: false,
    properties: {
      limit: limit(100),
      after: id,
      status: { type: "string", pattern: "^(200|202|400|404|500)(,(200|202|400|404|500))*$" },
    },
  },
  response: { 200: { type: "array", items: device } },
};
const deviceId = { type: "object", properties: { id }, required: ["id"] };
const getDevice = { params: deviceId, response: { 200: device } };
const syncDevice = { params: deviceId, response: { 202: device } };
const listErrors = {
  querystring: {
    type: "object",
    additionalProperties: false,
    properties: {
      limit: limit(50),
      before: id,
      device_id: id,
      status: { type: "integer" },
      since: { type: "string", format: "date-time" },
    },
  },
  response: { 200: { type: "array", items: errorLog } },
};

// Unknown parameters are refused, as they are by the others; by default Fastify drops them.
const app = Fastify({ ajv: { customOptions: { removeAdditional: false } } });
app.register(fastifyJwt, {
  secret: JWT_SECRET,
  verify: { algorithms: ["HS256"], allowedIss: "pisync" },
});

app.addHook("onRequest", async (request, reply) => {
  await request.jwtVerify();
  if (!request.user.scopes?.includes("devices")) {
    reply.code(403).send({ message: "The token lacks the scope devices." });
    return reply;
  }
});

app.setErrorHandler((error, _request, reply) => {
  const isField = error.validation !== undefined;
  const status = isField ? (error.validationContext === "params" ? 404 : 422) : error.statusCode ?? 500;
  reply.code(status).send({ message: error.message });
});

app.get("/devices", { schema: listDevices }, async (request, reply) => {
  const { devices, total, more } = fleet.page(request.query);
  reply.header("X-Total-Count", total);
  if (more) {
    const { limit, status } = request.query;
    const next = new URLSearchParams({ limit, after: devices.at(-1).device_id, ...(status && { status }) });
    reply.header("Link", `</devices?${next}>; rel="next"`);
  }
  return devices;
});

app.get("/devices/:id", { schema: getDevice }, async (request, reply) => {
  return fleet.device(request.params.id) ?? notFound(reply);
});

app.post("/devices/:id/sync", { schema: syncDevice }, async (request, reply) => {
  const found = fleet.device(request.params.id);
  if (!found) return notFound(reply);
  const attempt = fleet.sync(found);
  reply.code(202).header("Location", `/devices/${found.device_id}`).header("Pisync-Attempt", attempt);
  return found;
});

app.get("/errors", { schema: listErrors }, async (request) => fleet.errors(request.query));

app.get("/stats", async () => fleet.stats());

function notFound(reply) {
  reply.code(404);
  return { message: "There is no such device." };
}

await app.listen({ port: Number(PORT), host: "127.0.0.1" });
