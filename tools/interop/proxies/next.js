// Next's development server, with a rewrite; it compresses unless told otherwise.
import { createServer } from "node:http";

import next from "next";

process.env.NEXT_TELEMETRY_DISABLED = "1";
process.env.PISYNC_URL = process.argv[2];
const app = next({ dev: true, dir: new URL("next", import.meta.url).pathname });
await app.prepare();
const server = createServer(app.getRequestHandler());
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
