// Writes the types that openapi-typescript makes of the server's OpenAPI document to test/openapi.d.ts.
import { execFileSync } from "node:child_process";
import { writeFileSync } from "node:fs";

import openapiTS, { astToString } from "openapi-typescript";

const document = execFileSync(process.env.PISYNC_COMMAND ?? "pisync", ["openapi"], { encoding: "utf8" });
const types = astToString(await openapiTS(document, { defaultNonNullable: false }));
writeFileSync(new URL("openapi.d.ts", import.meta.url), types);
