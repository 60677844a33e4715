// Express as a page's development server: compression for all, and the API behind a proxy.
import compression from "compression";
import express from "express";
import { createProxyMiddleware } from "http-proxy-middleware";

const app = express();
app.use(compression());
app.use("/api", createProxyMiddleware({ target: process.argv[2], changeOrigin: true }));
const server = app.listen(0, "127.0.0.1", () => console.log(server.address().port));
