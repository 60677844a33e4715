// Vite's development server.
import { fileURLToPath } from "node:url";

import { createServer } from "vite";

const api = { target: process.argv[2], rewrite: (path) => path.replace(/^\/api/, "") };
const server = await createServer({ logLevel: "error", cacheDir: fileURLToPath(new URL("../node_modules/.vite", import.meta.url)), configFile: false, server: { host: "127.0.0.1", port: 0, proxy: { "/api": api } } });
await server.listen();
console.log(server.httpServer.address().port);
