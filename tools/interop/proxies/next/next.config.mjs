export default {
  rewrites: () => [{ source: "/api/:path*", destination: `${process.env.PISYNC_URL}/:path*` }],
};
