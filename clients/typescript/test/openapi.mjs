// Writes the types that openapi-typescript makes of the server's OpenAPI document to test/openapi.d.ts.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";

import openapiTS, { astToString } from "openapi-typescript";

const printed = execFileSync(process.env.PISYNC_COMMAND ?? "pisync", ["openapi"], { encoding: "utf8" });
const document = JSON.parse(printed, (_, value) => {
  // Conditions between fields, of which openapi-typescript makes unions of parts.
  if (value?.properties) for (const condition of ["allOf", "anyOf"]) delete value[condition];
  return value;
});
const types = astToString(await openapiTS(document, { defaultNonNullable: false }));
writeFileSync(new URL("openapi.d.ts", import.meta.url), types);
