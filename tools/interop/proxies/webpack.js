// webpack's development server, which compresses unless told otherwise.
import webpack from "webpack";
import WebpackDevServer from "webpack-dev-server";

const target = process.argv[2];
const compiler = webpack({ mode: "development", entry: "data:text/javascript,", infrastructureLogging: { level: "error" }, stats: "none" });
const proxy = [{ context: ["/api"], target, pathRewrite: { "^/api": "" } }];
const server = new WebpackDevServer({ host: "127.0.0.1", port: "auto", proxy }, compiler);
await server.start();
console.log(server.options.port);
